//! The smallest embedding: two sites in one process, a mutual TLS link between them, and a stream over it.

use std::error::Error;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sitelink::{AccessSpec, Credentials, CredentialsParts, Manifest, OpenRequest, Ordinal, Plane, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let (patience, greeter) = (Duration::from_secs(10), "greeter".parse()?);

    // East takes links, and answers for the routing key "greeter".
    let east = Plane::builder(Site::new("6f1e-east", "east")?).start().await?;
    let spec = AccessSpec::new("127.0.0.1:0".parse()?, "inter-router".parse()?);
    let access = east.listen(spec, bundle("east", &ca)?).await?;
    east.serve(&greeter)?;

    // West reads a Link document, and keeps that link, whatever happens to the connections under it.
    let west = Plane::builder(Site::new("9c40-west", "west")?).start().await?;
    let document = LINK.replace("PORT", &access.address().port().to_string());
    let manifest = Manifest::parse(document, "link.yaml");
    let (link, credentials) = (manifest.link("east")?, bundle("west", &ca)?);
    west.link(link.clone(), Some(credentials)).await?;

    let answer = async {
        let incoming = east.accept().await.ok_or("east was shut down")?;
        let (mut stream, mut name) = (incoming.accept()?, String::new());
        stream.read_to_string(&mut name).await?;
        stream.write_all(format!("hello, {name}").as_bytes()).await?;
        Ok(stream.shutdown().await?)
    };
    let ask = async {
        let request = OpenRequest::to_key(greeter).wait_for_path(patience);
        let (mut stream, mut greeting) = (west.open(request).await?, String::new());
        stream.write_all(b"world").await?;
        stream.shutdown().await?; // ends our half; the answer still comes
        stream.read_to_string(&mut greeting).await?;
        Ok::<_, Box<dyn Error>>(greeting)
    };
    println!("{}", tokio::try_join!(ask, answer)?.0);
    tokio::join!(west.shutdown(patience), east.shutdown(patience));
    Ok(())
}

fn bundle(name: &str, ca: &CertifiedIssuer<'_, KeyPair>) -> Result<Credentials, Box<dyn Error>> {
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(["127.0.0.1".into()])?.signed_by(&key, ca)?.pem();
    let (cert, key) = (Some(leaf.into_bytes()), Some(key.serialize_pem().into_bytes()));
    let parts = CredentialsParts { ca: ca.pem().into_bytes(), cert, key, ..Default::default() };
    Ok(Credentials::from_pem(name, &parts, Ordinal(1))?)
}

const LINK: &str = r#"{ apiVersion: skupper.io/v2alpha1, kind: Link, metadata: { name: east },
    spec: { endpoints: [{ name: inter-router, host: 127.0.0.1, port: "PORT" }] } }"#;
