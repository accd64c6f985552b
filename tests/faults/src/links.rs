//! The connections between etcd's members, through proxies that can cut one member off.
//!
//! A member that is cut off is reached by its clients still, and by no other member; nothing is
//! refused or closed, bytes just do not arrive, as when a switch fails. Who has opened a connection
//! is asked of the kernel (`/proc/net/tcp`, `/proc/PID/fd`), since etcd calls every member at one
//! address.

use anyhow::{Result, bail};
use std::fs;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Between two looks for who has opened a connection.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked.
const LOOKS_MAX: usize = 50;

/// The links of a cluster of so many members.
pub(crate) struct Links {
    /// Where each member is called by the others.
    pub(crate) ports: Vec<u16>,
    /// Which member is cut off.
    cut: watch::Sender<Option<usize>>,
    /// Who the members are, as they are started.
    pids: Mutex<Vec<u32>>,
    /// Connections so far.
    connections: AtomicU64,
    /// Connections of which nobody knows who has opened them.
    strangers: AtomicU32,
}

impl Links {
    /// Proxies before these ports. Within a runtime.
    pub(crate) async fn open(targets: &[u16]) -> Result<Arc<Self>> {
        let mut listeners = Vec::new();
        for _ in targets {
            listeners.push(TcpListener::bind(("127.0.0.1", 0)).await?);
        }
        let ports = listeners
            .iter()
            .map(|one| one.local_addr().map(|at| at.port()));
        let links = Arc::new(Self {
            ports: ports.collect::<Result<_, _>>()?,
            cut: watch::Sender::new(None),
            pids: Mutex::new(vec![0; targets.len()]),
            connections: AtomicU64::new(0),
            strangers: AtomicU32::new(0),
        });
        for ((to, listener), target) in listeners.into_iter().enumerate().zip(targets.to_vec()) {
            tokio::spawn(Arc::clone(&links).serve(listener, to, target));
        }
        Ok(links)
    }

    /// A member has this process from now on.
    pub(crate) fn belongs(&self, member: usize, pid: u32) {
        crate::load::locked(&self.pids)[member] = pid;
    }

    /// Cuts a member off, or joins all again.
    pub(crate) fn cut(&self, member: Option<usize>) {
        self.cut.send_replace(member);
    }

    /// Fails when a connection was passed on for somebody unknown: a cut would not hold then.
    pub(crate) fn check(&self) -> Result<()> {
        let strangers = self.strangers.load(Ordering::Relaxed);
        let all = self.connections.load(Ordering::Relaxed);
        if all == 0 || strangers > 0 {
            bail!("of {all} connections between members, nobody knows whose {strangers} are");
        }
        Ok(())
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, to: usize, target: u16) {
        while let Ok((stream, from)) = listener.accept().await {
            let (links, proxy) = (Arc::clone(&self), self.ports[to]);
            tokio::spawn(async move {
                links.connections.fetch_add(1, Ordering::Relaxed);
                let Some(from) = links.owner(from.port(), proxy).await else {
                    return;
                };
                links.pass_on(stream, (from, to), target).await;
            });
        }
    }

    /// Which member has opened it; none: it is closed again, or nobody knows, which is counted. A
    /// member that was just started is known in a moment.
    async fn owner(&self, from: u16, to: u16) -> Option<usize> {
        for _ in 0..LOOKS_MAX {
            let pids = crate::load::locked(&self.pids).clone();
            match owner(from, to, &pids) {
                Ok(Owner::Member(member)) => return Some(member),
                Ok(Owner::Nobody) => return None,
                Ok(Owner::Stranger) | Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
        self.strangers.fetch_add(1, Ordering::Relaxed);
        None
    }

    async fn pass_on(&self, stream: TcpStream, ends: (usize, usize), target: u16) {
        self.whole(ends).await;
        let Ok(further) = TcpStream::connect(("127.0.0.1", target)).await else {
            return;
        };
        let _ = (stream.set_nodelay(true), further.set_nodelay(true));
        let ((from_there, to_there), (from_here, to_here)) =
            (further.into_split(), stream.into_split());
        tokio::join!(
            self.pump(from_here, to_there, ends),
            self.pump(from_there, to_here, ends)
        );
    }

    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, ends: (usize, usize)) {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            self.whole(ends).await;
            if to.write_all(&chunk[..length]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    }

    /// Until bytes pass between these two.
    async fn whole(&self, (from, to): (usize, usize)) {
        let mut cut = self.cut.subscribe();
        let is_whole = |cut: &Option<usize>| *cut != Some(from) && *cut != Some(to);
        let _ = cut.wait_for(is_whole).await;
    }
}

/// Who has a connection.
enum Owner {
    /// The member's process.
    Member(usize),
    /// It is closed, or its process has ended.
    Nobody,
    /// A process that is no member's, or is not known to be.
    Stranger,
}

/// Who has the socket from port to port of 127.0.0.1.
fn owner(from: u16, to: u16, pids: &[u32]) -> Result<Owner> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let ends = (format!(":{from:04X}"), format!(":{to:04X}"));
    let inode = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, remote) = (fields.get(1)?, fields.get(2)?);
        let is_it = local.ends_with(&ends.0) && remote.ends_with(&ends.1);
        is_it.then(|| fields.get(9).map(ToString::to_string))?
    });
    let Some(inode) = inode.filter(|inode| inode != "0") else {
        return Ok(Owner::Nobody);
    };
    let socket = format!("socket:[{inode}]");
    let has = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == &*socket))
    };
    let member = pids.iter().position(has);
    Ok(member.map_or(Owner::Stranger, Owner::Member))
}
