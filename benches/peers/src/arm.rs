//! The arms: ways to read from two replicas.

/// One way to read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Arm {
    Leases,
    Shared,
    SharedSessions,
    ConnectionPerThread,
    R2d2Stock,
    R2d2Unchecked,
    MultiplexedThreads,
    MultiplexedTasks,
    ClusterThreads,
    ClusterTasks,
    Fred,
    Rustis,
    Ioredis,
    Glide,
}

impl Arm {
    pub const ALL: [Self; 14] = [
        Self::Leases,
        Self::Shared,
        Self::SharedSessions,
        Self::ConnectionPerThread,
        Self::R2d2Stock,
        Self::R2d2Unchecked,
        Self::MultiplexedThreads,
        Self::MultiplexedTasks,
        Self::ClusterThreads,
        Self::ClusterTasks,
        Self::Fred,
        Self::Rustis,
        Self::Ioredis,
        Self::Glide,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leases => "leases",
            Self::Shared => "shared",
            Self::SharedSessions => "shared-sessions",
            Self::ConnectionPerThread => "connection-per-thread",
            Self::R2d2Stock => "r2d2-stock",
            Self::R2d2Unchecked => "r2d2-unchecked",
            Self::MultiplexedThreads => "multiplexed-threads",
            Self::MultiplexedTasks => "multiplexed-tasks",
            Self::ClusterThreads => "cluster-threads",
            Self::ClusterTasks => "cluster-tasks",
            Self::Fred => "fred",
            Self::Rustis => "rustis",
            Self::Ioredis => "ioredis",
            Self::Glide => "glide",
        }
    }

    /// The name in tables and plots.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Leases => "redis-replicated, leases",
            Self::Shared => "redis-replicated, shared",
            Self::SharedSessions => "the same, sessions",
            Self::ConnectionPerThread => "redis, connection per thread",
            Self::R2d2Stock => "r2d2, stock (PING)",
            Self::R2d2Unchecked => "r2d2, unchecked",
            Self::MultiplexedThreads => "redis, multiplexed, threads",
            Self::MultiplexedTasks => "redis, multiplexed, tasks",
            Self::ClusterThreads => "redis, cluster per thread",
            Self::ClusterTasks => "redis, cluster, tasks",
            Self::Fred => "fred, tasks",
            Self::Rustis => "rustis, tasks",
            Self::Ioredis => "ioredis (Node.js)",
            Self::Glide => "GLIDE (Node.js)",
        }
    }

    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Leases | Self::Shared | Self::SharedSessions)
    }

    pub fn named(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|arm| arm.name() == name).ok_or_else(|| format!("no arm {name}; arms: {}", known()))
    }
}
