# Short names for what `.ci/run` does. There is no second list: a recipe of CI calls its step.

# Everything that CI does.
check:
    bash .ci/run

# One or more steps of CI; `.ci/run --list` names them.
step +STEPS:
    bash .ci/run {{STEPS}}

fmt-check:
    bash .ci/run fmt

clippy:
    bash .ci/run clippy

test:
    bash .ci/run test

doc:
    bash .ci/run doc

deny:
    bash .ci/run deny

package:
    bash .ci/run package

# Format in place. Stable rustfmt takes the two unstable settings on the command line.
fmt:
    cargo fmt -- --config unstable_features=true,group_imports=StdExternalCrate,imports_granularity=Module

# Replay one seed of the simulated world.
sim SEED:
    SIM_SEED={{SEED}} cargo test --release --lib sim -- --nocapture

# Fuzz one target for a while.
fuzz TARGET SECONDS="60":
    cargo +nightly fuzz run {{TARGET}} -- -max_total_time={{SECONDS}}

# The figures of BENCHMARKS.md.
bench:
    cargo bench

# Instructions per GB and per open, compared with what is written down.
counts:
    bash .ci/counts

# Ten minutes of mixed load with cuts: nothing lost, memory flat.
soak SECONDS="600":
    cargo bench --bench soak -- --seconds {{SECONDS}}

demo:
    cargo run --release --example demo

# Which way new connections go when costs change and sites come and go, predicted and observed.
failover:
    cargo run --release --example failover

# A network that does its worst: nothing lost, no byte wrong, and how long the pauses are.
chaos SECONDS="300":
    cargo run --release --example chaos -- --seconds {{SECONDS}}
