//! Ways to an endpoint that a test makes up: Link documents with settings, names, and an HTTP proxy.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]
#![allow(clippy::unwrap_used, reason = "a setup that fails fails its test")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sitelink::{
    Access, AccessSpec, Addresses, LinkId, LinkRole, LinkSecrets, Manifest, Plane, PlaneConfig, Resolver,
    Site,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::credentials;
use super::pki::TestCa;

/// What the documents of a Link are made from.
#[derive(Clone)]
pub(crate) struct Documents {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) settings: Value,
    /// The `stringData` of the proxy's Secret, if there is one.
    pub(crate) proxy: Option<Value>,
}

impl Documents {
    /// A Link without settings, named `east`.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        let (name, host) = ("east".to_owned(), host.to_owned());
        Self { name, host, port, settings: json!({}), proxy: None }
    }

    /// The same with settings.
    pub(crate) fn with(self, settings: Value) -> Self {
        Self { settings, ..self }
    }

    /// The same through a proxy: the setting, and the Secret it names.
    pub(crate) fn through(self, proxy: SocketAddr, login: Option<(&str, &str)>) -> Self {
        let mut secret = json!({ "host": proxy.ip().to_string(), "port": proxy.port().to_string() });
        if let Some((username, password)) = login {
            secret["username"] = username.into();
            secret["password"] = password.into();
        }
        Self { proxy: Some(secret), ..self.with(json!({ "proxy-configuration": "uplink" })) }
    }

    /// The documents, read.
    pub(crate) fn manifest(&self) -> Manifest {
        let mut items = vec![json!({
            "apiVersion": "skupper.io/v2alpha1",
            "kind": "Link",
            "metadata": { "name": self.name },
            "spec": {
                "tlsCredentials": "client",
                "settings": self.settings,
                "endpoints": [{ "name": "inter-router", "host": self.host, "port": self.port.to_string() }],
            },
        })];
        items.extend(self.proxy.iter().map(|data| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/basic-auth",
                "metadata": { "name": "uplink" },
                "stringData": data,
            })
        }));
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        let manifest = Manifest::parse(list.to_string(), "test");
        assert_eq!(manifest.refused(), []);
        manifest
    }

    /// What the Link is dialed with: the bundle of `west`, and the proxy if there is one.
    pub(crate) fn secrets(&self, ca: &TestCa) -> LinkSecrets {
        let secrets = LinkSecrets::from(credentials("client", &ca.client("west")));
        match self.manifest().secret("", "uplink").and_then(|secret| secret.proxy()) {
            Some(proxy) => secrets.with_proxy(proxy),
            None => secrets,
        }
    }

    /// Takes the Link on.
    pub(crate) async fn link(&self, plane: &Plane, ca: &TestCa) -> LinkId {
        let spec = self.manifest().link(&self.name).unwrap().clone();
        plane.link(spec, self.secrets(ca)).await.unwrap()
    }

    /// Changes a Link to these.
    pub(crate) async fn relink(&self, plane: &Plane, link: LinkId, ca: &TestCa) {
        let spec = self.manifest().link(&self.name).unwrap().clone();
        plane.relink(link, spec, self.secrets(ca)).await.unwrap();
    }
}

/// Listens for links as `east.test` and 127.0.0.1.
pub(crate) async fn listen_as_east(plane: &Plane, at: SocketAddr, ca: &TestCa) -> Access {
    let server = credentials("server", &ca.server(&["east.test", "127.0.0.1"]));
    plane.listen(AccessSpec::new(at, LinkRole::InterRouter), server).await.unwrap()
}

/// A plane of `west` whose names are looked up by a test.
pub(crate) async fn west_with(config: PlaneConfig, resolver: impl Resolver) -> Plane {
    let site = Site::new("west-id", "west").unwrap();
    Plane::builder(site).config(config).resolver(resolver).start().await.unwrap()
}

/// Names as a test wants them. A name that is not known hangs for ever, as one does whose server is silent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    known: HashMap<String, Vec<SocketAddr>>,
    asked: Vec<String>,
}

impl Zone {
    /// From now on `host` is there.
    pub(crate) fn set(&self, host: &str, address: SocketAddr) {
        self.0.lock().unwrap().known.insert(host.to_owned(), vec![address]);
    }

    /// How often a name was looked up.
    pub(crate) fn asked(&self, host: &str) -> usize {
        self.0.lock().unwrap().asked.iter().filter(|asked| *asked == host).count()
    }
}

impl Resolver for Zone {
    fn lookup(&self, host: Arc<str>) -> Addresses {
        let mut records = self.0.lock().unwrap();
        records.asked.push(host.to_string());
        let known = records.known.get(&*host).cloned();
        Box::pin(async move {
            match known {
                Some(addresses) => Ok(addresses),
                None => std::future::pending().await,
            }
        })
    }
}

/// An HTTP proxy made by hand, that carries every tunnel to one and the same address. It ends with its runtime.
pub(crate) struct HttpProxy {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    /// Grants tunnels to those whose request has this header line, or to all.
    pub(crate) async fn to(target: SocketAddr, wanted: Option<&'static str>) -> Self {
        let listener = TcpListener::bind(super::loopback()).await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let told = Arc::clone(&requests);
        tokio::task::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::task::spawn(serve(client, target, wanted, Arc::clone(&told)));
            }
        });
        Self { address, requests }
    }

    /// The requests so far, whole.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    wanted: Option<&str>,
    requests: Arc<Mutex<Vec<String>>>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let granted = wanted.is_none_or(|line| request.contains(line));
    requests.lock().unwrap().push(request);
    if !granted {
        let answer =
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
        let _ = client.write_all(answer).await;
        return;
    }
    let mut far = TcpStream::connect(target).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut far).await;
}
