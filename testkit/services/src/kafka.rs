//! A running Kafka.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use tempfile::TempDir;
use tokio::sync::{Mutex, Notify};

use crate::{
    KafkaBuilder, ServiceError, Unavailable,
    jars::{self, Runtime},
    ports,
    process::Process,
    properties::{self, NodePorts},
};

const READY: &str = "Kafka Server started";
const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// The end of a broker that writes its class archive.
const TRAINED_WITHIN: Duration = Duration::from_secs(60);
/// How often a start may find its ports taken between the probe and the broker's bind.
const ATTEMPTS: usize = 5;
/// Formatting is short work.
const TOOL_HEAP: u64 = 128 << 20;

/// A Kafka that runs on 127.0.0.1 for as long as this value lives.
///
/// Nodes are numbered from 1, as in `node.id`. Dropping the value kills the nodes and removes their data; so does the
/// death of this process, even by SIGKILL.
#[derive(Debug)]
pub struct Kafka {
    // Before `directory`: fields drop in order, and the data goes after the nodes.
    nodes: Vec<Node>,
    listeners: Vec<(String, Vec<String>)>,
    died: Arc<Notify>,
    directory: TempDir,
}

#[derive(Debug)]
struct Node {
    number: usize,
    command: Vec<OsString>,
    process: Mutex<Option<Process>>,
}

impl Kafka {
    /// Begins the description of a Kafka with one node and one plain listener.
    pub fn builder() -> KafkaBuilder {
        KafkaBuilder::new()
    }

    /// Tells whether this machine can run Kafka: a Java runtime, and Maven or jars fetched earlier.
    ///
    /// # Errors
    /// What is missing and the command that installs it. The caller ignores its cases with that reason, or fails where
    /// [`required`](crate::required) says so.
    pub fn available() -> Result<(), Unavailable> {
        jars::available()
    }

    pub(crate) async fn start(builder: KafkaBuilder) -> Result<Self, ServiceError> {
        let runtime = Runtime::prepare().await?;
        let train = |runtime: Runtime| async move {
            let kafka = Self::launch(&Self::builder(), &runtime).await?;
            kafka.stop_within(TRAINED_WITHIN).await
        };
        let runtime = runtime.with_archive(train).await?;
        Self::launch(&builder, &runtime).await
    }

    /// Starts on free ports, and again on others where one was taken in the meantime: a probe cannot reserve a port for
    /// another process. No other failure is tried again.
    async fn launch(builder: &KafkaBuilder, runtime: &Runtime) -> Result<Self, ServiceError> {
        let mut attempt = 1;
        loop {
            let ports = node_ports(builder).map_err(ServiceError::io("looking for free ports"))?;
            match Self::launch_on(&ports, builder, runtime).await {
                Err(ServiceError::AddressInUse { .. }) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn launch_on(
        ports: &[NodePorts],
        builder: &KafkaBuilder,
        runtime: &Runtime,
    ) -> Result<Self, ServiceError> {
        let mut kafka = Self::describe(ports, builder, runtime)
            .map_err(ServiceError::io("making a directory for Kafka's data"))?;
        kafka.format(builder, runtime).await?;
        for index in 0..kafka.nodes.len() {
            let process = kafka.spawn(&kafka.nodes[index])?;
            *kafka.nodes[index].process.get_mut() = Some(process);
        }
        let ready = kafka.nodes.iter_mut().filter_map(|node| node.process.get_mut().as_ref());
        try_join_all(ready.map(|process| process.ready(START_WITHIN))).await?;
        Ok(kafka)
    }

    /// Makes the directory and the settings of each node, runs nothing.
    fn describe(ports: &[NodePorts], builder: &KafkaBuilder, runtime: &Runtime) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("onex-kafka-").tempdir()?;
        let mut nodes = Vec::new();
        for number in 1..=builder.nodes {
            let folder = directory.path().join(format!("node-{number}"));
            fs::create_dir(&folder)?;
            let data = folder.join("data");
            let data = data.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
            let settings = settings_path(directory.path(), number);
            fs::write(&settings, properties::of_node(builder, ports, number, data))?;
            let mut command = runtime.command(builder.heap, &builder.java_options, "kafka.Kafka");
            command.push(settings.into());
            nodes.push(Node { number, command, process: Mutex::new(None) });
        }
        let address =
            |index: usize| ports.iter().map(move |node| format!("127.0.0.1:{}", node.listeners[index]));
        let names = builder.listener_names().enumerate();
        let listeners = names.map(|(index, (name, _))| (name.to_owned(), address(index).collect())).collect();
        Ok(Self { nodes, listeners, died: Arc::default(), directory })
    }

    async fn format(&self, builder: &KafkaBuilder, runtime: &Runtime) -> Result<(), ServiceError> {
        let cluster = cluster_id();
        let runtime = runtime.for_tools();
        let format = |node: &Node| {
            let mut command = runtime.command(TOOL_HEAP, &[], "kafka.tools.StorageTool");
            command.extend(["format", "-t", &cluster, "-c"].map(OsString::from));
            command.push(settings_path(self.directory.path(), node.number).into());
            for user in &builder.scram {
                command.extend(["--add-scram".into(), user.into()]);
            }
            let name = format!("formatting of kafka node {}", node.number);
            Process::spawn(name, &command, self.directory.path(), "", Arc::default())
        };
        let running = self.nodes.iter().map(format).collect::<Result<Vec<_>, _>>()?;
        try_join_all(running.into_iter().map(|process| process.exit(START_WITHIN))).await?;
        Ok(())
    }

    fn spawn(&self, node: &Node) -> Result<Process, ServiceError> {
        let name = format!("kafka node {}", node.number);
        Process::spawn(name, &node.command, self.directory.path(), READY, Arc::clone(&self.died))
    }

    fn node(&self, number: usize) -> Result<&Node, ServiceError> {
        let found = self.nodes.iter().find(|node| node.number == number);
        found.ok_or_else(|| {
            let count = self.nodes.len();
            ServiceError::Invalid(format!("there is no node {number}; nodes are numbered 1 to {count}"))
        })
    }

    /// Returns the address of each node's plain listener, `127.0.0.1:PORT`, the first node first.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &[String] {
        &self.listeners[0].1
    }

    /// Returns the address of each node's listener of that name, if there is one.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&[String]> {
        let found = self.listeners.iter().find(|(other, _)| other == name);
        found.map(|(_, addresses)| addresses.as_slice())
    }

    /// Returns the directory that holds the nodes' settings and data; it is removed at the end.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the last lines of a node's log since its last start; none where the node is down.
    ///
    /// # Errors
    /// `Invalid` for an unknown node.
    pub async fn log(&self, node: usize) -> Result<Vec<String>, ServiceError> {
        let process = self.node(node)?.process.lock().await;
        Ok(process.as_ref().map(Process::log).unwrap_or_default())
    }

    /// Kills a node (SIGKILL) and resolves once it is gone; nothing happens where it is down already.
    ///
    /// # Errors
    /// `Invalid` for an unknown node; `TimedOut` where the system did not end the process.
    ///
    /// # Cancellation
    /// Dropping the future kills the node all the same.
    pub async fn kill(&self, node: usize) -> Result<(), ServiceError> {
        let mut slot = self.node(node)?.process.lock().await;
        match slot.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Starts a node again on its data and its ports, after stopping it in order where it still runs, and resolves once
    /// it says that it is ready.
    ///
    /// # Errors
    /// `Invalid` for an unknown node; `Ended`, `TimedOut` or `AddressInUse`, with the end of the log, where it was not
    /// ready within 60 s. The node is down then.
    ///
    /// # Cancellation
    /// Dropping the future leaves the node down.
    pub async fn restart(&self, node: usize) -> Result<(), ServiceError> {
        let node = self.node(node)?;
        let mut slot = node.process.lock().await;
        if let Some(process) = slot.take() {
            process.stop(STOP_WITHIN).await?;
        }
        let process = self.spawn(node)?;
        process.ready(START_WITHIN).await?;
        *slot = Some(process);
        Ok(())
    }

    /// Resolves when a node ends though nobody asked it to, with the reason; a killed or stopped node does not count.
    pub async fn ended(&self) -> ServiceError {
        loop {
            // Made before the look, so that an end between the look and the wait is not missed.
            let died = self.died.notified();
            for node in &self.nodes {
                if let Some(process) = node.process.lock().await.as_ref()
                    && process.is_closed()
                {
                    return process.ended();
                }
            }
            died.await;
        }
    }

    /// Stops the nodes in order (SIGTERM), kills those that have not ended within 10 s, and removes their data.
    ///
    /// One node takes 0.3 s; three take 5 s, because the last controllers wait for a successor. Dropping the value is
    /// quick and leaves as little behind.
    ///
    /// # Errors
    /// `TimedOut` where the system did not end a process; `Io` where the data could not be removed.
    ///
    /// # Cancellation
    /// Dropping the future kills the nodes.
    pub async fn stop(self) -> Result<(), ServiceError> {
        self.stop_within(STOP_WITHIN).await
    }

    async fn stop_within(self, within: Duration) -> Result<(), ServiceError> {
        let Self { nodes, directory, .. } = self;
        let processes = nodes.into_iter().filter_map(|node| node.process.into_inner());
        let stopped = join_all(processes.map(|process| process.stop(within))).await;
        stopped.into_iter().collect::<Result<(), _>>()?;
        directory.close().map_err(ServiceError::io("removing Kafka's data"))
    }
}

fn settings_path(directory: &Path, node: usize) -> PathBuf {
    directory.join(format!("node-{node}")).join("server.properties")
}

fn node_ports(builder: &KafkaBuilder) -> io::Result<Vec<NodePorts>> {
    let each = 2 + builder.listeners.len();
    let ports = ports::free(each * builder.nodes)?;
    let of_node = |own: &[u16]| NodePorts { controller: own[0], listeners: own[1..].to_vec() };
    Ok(ports.chunks(each).map(of_node).collect())
}

/// 16 random bytes in URL-safe base64, all letters: an id that begins with `-` would be read as an option.
fn cluster_id() -> String {
    let mut id: String = (0..21).map(|_| fastrand::alphabetic()).collect();
    // The last of 22 letters holds two bits.
    id.push(fastrand::choice(['A', 'Q', 'g', 'w']).unwrap_or('A'));
    id
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_told_apart_from_other_failures() {
        if let Err(reason) = Kafka::available() {
            assert!(!crate::required(), "{reason}");
            eprintln!("ignored: {reason}");
            return;
        }
        let builder = Kafka::builder();
        let runtime = Runtime::prepare().await.unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut ports = node_ports(&builder).unwrap();
        ports[0].listeners[0] = taken.local_addr().unwrap().port();
        let outcome = Kafka::launch_on(&ports, &builder, &runtime).await;
        assert!(matches!(outcome, Err(ServiceError::AddressInUse { .. })), "{outcome:?}");
    }
}
