//! The static command table: the class of each command and subcommand of Redis (to 8.10), Valkey (to 9.1), their modules
//! and Dragonfly.
//!
//! A command is a `Read` only where the servers flag it READONLY *and* any replica can answer it. Commands that merely do not
//! write (PUBLISH, CONFIG SET, SHUTDOWN) are not reads, nor is TOUCH, which steers the master's eviction. A group holds the
//! commands of one class whose arguments are read in the same way, sorted by name.
//! `tests/it/calls/classification.rs` compares them with `tests/it/calls/oracle.tsv` and with `COMMAND` of the installed server.

use super::arguments::Key::{self, After, At, None as NoKey, Streams};
use super::arguments::LAST;
use super::arguments::Rule::{
    self, BlockMillis, BlockOption, BlockSeconds, Container, Eval, Partial, Plain, Resume, Scan, Step, WithCursor,
};
use super::arguments::TransactionStep::{Discard, Exec, Multi, Unwatch, Watch};
use super::class::Classification::{self, Connection, Cursor, Master, Read, Write};

/// One command, or one subcommand of a container (`"OBJECT ENCODING"`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// In upper case.
    pub(super) name: &'static str,
    pub(super) class: Classification,
    /// Where the first key is.
    pub(super) key: Key,
    /// What the arguments decide.
    pub(super) rule: Rule,
}

/// Commands of one kind.
pub(super) struct Group {
    class: Classification,
    key: Key,
    rule: Rule,
    pub(super) names: &'static [&'static str],
}

impl Group {
    pub(super) const fn row(&self, at: usize) -> Row {
        Row { name: self.names[at], class: self.class, key: self.key, rule: self.rule }
    }
}

const fn group(class: Classification, key: Key, rule: Rule, names: &'static [&'static str]) -> Group {
    Group { class, key, rule, names }
}

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    group(Read, After(1), Plain, &[
        "SDIFFCARD", "SINTERCARD", "SUNIONCARD", "TS.NRANGE", "TS.NREVRANGE", "ZDIFF", "ZINTER", "ZINTERCARD",
        "ZUNION",
    ]),
    group(Read, After(2), Plain, &["EVALSHA_RO", "EVAL_RO", "FCALL_RO"]),
    group(Read, At(1), Plain, &[
        "ARCOUNT", "ARGET", "ARGETRANGE", "ARGREP", "ARINFO", "ARLASTITEMS", "ARLEN", "ARMGET", "ARNEXT", "AROP",
        "ARSCAN", "BF.CARD", "BF.EXISTS", "BF.INFO", "BF.MEXISTS", "BITCOUNT", "BITFIELD_RO", "BITPOS", "CF.COUNT",
        "CF.EXISTS", "CF.INFO", "CF.MEXISTS", "CMS.INFO", "CMS.QUERY", "DIGEST", "DUMP", "EXISTS", "EXPIRETIME",
        "FIELDTTL", "FT.SUGGET", "FT.SUGLEN", "GEODIST", "GEOHASH", "GEOPOS", "GEORADIUSBYMEMBER_RO", "GEORADIUS_RO",
        "GEOSEARCH", "GET", "GETBIT", "GETRANGE", "GRAPH.RO_QUERY", "HEXISTS", "HEXPIRETIME", "HGET", "HGETALL",
        "HKEYS", "HLEN", "HMGET", "HPEXPIRETIME", "HPTTL", "HRANDFIELD", "HSTRLEN", "HTTL", "HVALS", "JSON.ARRINDEX",
        "JSON.ARRLEN", "JSON.GET", "JSON.MGET", "JSON.OBJKEYS", "JSON.OBJLEN", "JSON.RESP", "JSON.STRLEN",
        "JSON.TYPE", "LCS", "LINDEX", "LLEN", "LPOS", "LRANGE", "MGET", "PEXPIRETIME", "PFCOUNT", "PTTL", "SCARD",
        "SDIFF", "SINTER", "SISMEMBER", "SMEMBERS", "SMISMEMBER", "SORT_RO", "SRANDMEMBER", "STRLEN", "SUBSTR",
        "SUNION", "TDIGEST.BYRANK", "TDIGEST.BYREVRANK", "TDIGEST.CDF", "TDIGEST.INFO", "TDIGEST.MAX", "TDIGEST.MIN",
        "TDIGEST.QUANTILE", "TDIGEST.RANK", "TDIGEST.REVRANK", "TDIGEST.TRIMMED_MEAN", "TOPK.INFO", "TOPK.LIST",
        "TOPK.QUERY", "TS.GET", "TS.INFO", "TS.RANGE", "TS.READ", "TS.REVRANGE", "TTL", "TYPE", "VCARD", "VDIM",
        "VEMB", "VGETATTR", "VINFO", "VISMEMBER", "VLINKS", "VRANDMEMBER", "VRANGE", "VSIM", "XLEN", "XPENDING",
        "XRANGE", "XREVRANGE", "ZCARD", "ZCOUNT", "ZLEXCOUNT", "ZMSCORE", "ZRANDMEMBER", "ZRANGE", "ZRANGEBYLEX",
        "ZRANGEBYSCORE", "ZRANK", "ZREVRANGE", "ZREVRANGEBYLEX", "ZREVRANGEBYSCORE", "ZREVRANK", "ZSCORE",
    ]),
    group(Read, At(2), Plain, &[
        "FT.GET", "MEMORY USAGE", "OBJECT ENCODING", "OBJECT FREQ", "OBJECT IDLETIME", "OBJECT REFCOUNT",
        "XINFO CONSUMERS", "XINFO GROUPS", "XINFO STREAM",
    ]),
    group(Read, NoKey, Plain, &[
        "DBSIZE", "FT.ALIASLIST", "FT.DICTDUMP", "FT.EXPLAIN", "FT.EXPLAINCLI", "FT.INFO", "FT.MGET", "FT.PROFILE",
        "FT.SPELLCHECK", "FT.SYNDUMP", "FT.TAGVALS", "JSON.DEBUG", "KEYS", "LOLWUT", "RANDOMKEY", "STRALGO",
        "TS.MGET", "TS.MRANGE", "TS.MREVRANGE", "TS.QUERYINDEX", "TS.QUERYLABELS",
    ]),
    group(Read, Streams, BlockOption, &["XREAD"]),
    group(Read, NoKey, WithCursor, &["FT.AGGREGATE", "FT.HYBRID", "FT.SEARCH"]),
    group(Cursor, NoKey, Container, &["FT.CURSOR"]),
    group(Cursor, NoKey, Resume(3), &["FT.CURSOR DEL", "FT.CURSOR GC", "FT.CURSOR READ"]),
    group(Cursor, At(1), Scan(1), &["CLUSTERSCAN"]),
    group(Cursor, NoKey, Scan(1), &["SCAN"]),
    group(Cursor, At(1), Scan(2), &["BF.SCANDUMP", "CF.SCANDUMP", "HSCAN", "SSCAN", "ZSCAN"]),
    group(Write, After(1), Plain, &["LMPOP", "MSETEX", "ZMPOP"]),
    group(Write, At(1), Plain, &[
        "APPEND", "ARDEL", "ARDELRANGE", "ARINSERT", "ARMSET", "ARRING", "ARSEEK", "ARSET", "BF.ADD", "BF.INSERT",
        "BF.LOADCHUNK", "BF.MADD", "BF.RESERVE", "BITFIELD", "CF.ADD", "CF.ADDNX", "CF.COMPACT", "CF.DEL",
        "CF.INSERT", "CF.INSERTNX", "CF.LOADCHUNK", "CF.RESERVE", "CL.THROTTLE", "CMS.INCRBY", "CMS.INITBYDIM",
        "CMS.INITBYPROB", "CMS.MERGE", "COPY", "DECR", "DECRBY", "DEL", "DELEX", "DELIFEQ", "EXPIRE", "EXPIREAT",
        "FIELDEXPIRE", "FT.SUGADD", "FT.SUGDEL", "GAT", "GEOADD", "GEORADIUS", "GEORADIUSBYMEMBER", "GEOSEARCHSTORE",
        "GETDEL", "GETEX", "GETSET", "GRAPH.QUERY", "HDEL", "HEXPIRE", "HEXPIREAT", "HGETDEL", "HGETEX", "HINCRBY",
        "HINCRBYFLOAT", "HMSET", "HPERSIST", "HPEXPIRE", "HPEXPIREAT", "HSET", "HSETEX", "HSETNX", "INCR", "INCRBY",
        "INCRBYFLOAT", "INCREX", "JSON.ARRAPPEND", "JSON.ARRINSERT", "JSON.ARRPOP", "JSON.ARRTRIM", "JSON.CLEAR",
        "JSON.DEL", "JSON.FORGET", "JSON.MERGE", "JSON.MSET", "JSON.NUMINCRBY", "JSON.NUMMULTBY", "JSON.NUMPOWBY",
        "JSON.SET", "JSON.STRAPPEND", "JSON.TOGGLE", "LINSERT", "LMOVE", "LMOVEM", "LPOP", "LPUSH", "LPUSHX", "LREM",
        "LSET", "LTRIM", "MOVE", "MSET", "MSETNX", "PERSIST", "PEXPIRE", "PEXPIREAT", "PFADD", "PFMERGE", "PREPEND",
        "PSETEX", "RENAME", "RENAMENX", "RESTORE", "RESTORE-ASKING", "RPOP", "RPOPLPUSH", "RPUSH", "RPUSHX", "SADD",
        "SADDEX", "SDIFFSTORE", "SET", "SETBIT", "SETEX", "SETNX", "SETRANGE", "SHRINK", "SINTERSTORE", "SMOVE",
        "SORT", "SPOP", "SREM", "STICK", "SUNIONSTORE", "TDIGEST.ADD", "TDIGEST.CREATE", "TDIGEST.MERGE",
        "TDIGEST.RESET", "TOPK.ADD", "TOPK.COUNT", "TOPK.INCRBY", "TOPK.RESERVE", "TS.ADD", "TS.ALTER", "TS.CREATE",
        "TS.CREATERULE", "TS.DECRBY", "TS.DEL", "TS.DELETERULE", "TS.INCRBY", "TS.MADD", "UNLINK", "VADD", "VREM",
        "VSETATTR", "XACK", "XACKDEL", "XADD", "XAUTOCLAIM", "XCFGSET", "XCLAIM", "XDEL", "XDELEX", "XIDMPRECORD",
        "XNACK", "XSETID", "XTRIM", "ZADD", "ZDIFFSTORE", "ZINCRBY", "ZINTERSTORE", "ZPOPMAX", "ZPOPMIN",
        "ZRANGESTORE", "ZREM", "ZREMRANGEBYLEX", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZUNIONSTORE",
    ]),
    group(Write, At(2), Plain, &[
        "BITOP", "FT.ADD", "FT.DEL", "FT.SAFEADD", "HIMPORT SET", "PFDEBUG", "XGROUP CREATE", "XGROUP CREATECONSUMER",
        "XGROUP DELCONSUMER", "XGROUP DESTROY", "XGROUP SETID",
    ]),
    group(Write, NoKey, Plain, &[
        "CLUSTER FLUSHSLOT", "FLUSHALL", "FLUSHDB", "FT.ALIASADD", "FT.ALIASDEL", "FT.ALIASUPDATE", "FT.ALTER",
        "FT.CONFIG SET", "FT.CREATE", "FT.DICTADD", "FT.DICTDEL", "FT.DROP", "FT.DROPINDEX", "FT.INTERNAL_UPDATE",
        "FT.SYNADD", "FT.SYNUPDATE", "FT._ALIASADDIFNX", "FT._ALIASDELIFX", "FT._ALTERIFNX", "FT._CREATEIFNX",
        "FT._DROPIFX", "FT._DROPINDEXIFX", "FUNCTION DELETE", "FUNCTION FLUSH", "FUNCTION LOAD", "FUNCTION RESTORE",
        "RM", "SFLUSH", "SWAPDB", "TRIMSLOTS",
    ]),
    group(Write, Streams, BlockOption, &["XREADGROUP"]),
    group(Write, After(2), BlockSeconds(1), &["BLMPOP", "BZMPOP"]),
    group(Write, At(1), BlockSeconds(5), &["BLMOVEM"]),
    group(Write, At(1), BlockSeconds(LAST), &["BLMOVE", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZPOPMAX", "BZPOPMIN"]),
    group(Write, NoKey, Container, &["XGROUP"]),
    group(Write, After(2), Eval, &["EVAL"]),
    group(Write, After(2), Partial, &["EVALSHA", "FCALL"]),
    group(Write, At(3), Partial, &["MIGRATE"]),
    group(Master, At(1), Plain, &["BF.DEBUG", "CF.DEBUG", "SPUBLISH", "TOUCH"]),
    group(Master, NoKey, Plain, &[
        "ACL CAT", "ACL DELUSER", "ACL DRYRUN", "ACL GENPASS", "ACL GETUSER", "ACL HELP", "ACL LIST", "ACL LOAD",
        "ACL LOG", "ACL SAVE", "ACL SETUSER", "ACL USERS", "ACL WHOAMI", "ADDREPLICAOF", "BACKUP ABORT",
        "BACKUP CLEANUP", "BACKUP HELP", "BACKUP LIST", "BACKUP SEAL", "BACKUP START", "BACKUP STATUS",
        "BGREWRITEAOF", "BGSAVE", "CLIENT HELP", "CLIENT KILL", "CLIENT LIST", "CLIENT PAUSE", "CLIENT UNBLOCK",
        "CLIENT UNPAUSE", "CLUSTER ADDSLOTS", "CLUSTER ADDSLOTSRANGE", "CLUSTER BUMPEPOCH",
        "CLUSTER CANCELSLOTMIGRATIONS", "CLUSTER COUNT-FAILURE-REPORTS", "CLUSTER COUNTKEYSINSLOT",
        "CLUSTER DELSLOTS", "CLUSTER DELSLOTSRANGE", "CLUSTER FAILOVER", "CLUSTER FLUSHSLOTS", "CLUSTER FORGET",
        "CLUSTER GETKEYSINSLOT", "CLUSTER GETSLOTMIGRATIONS", "CLUSTER HELP", "CLUSTER INFO", "CLUSTER KEYSLOT",
        "CLUSTER LINKS", "CLUSTER MEET", "CLUSTER MIGRATESLOTS", "CLUSTER MIGRATION", "CLUSTER MYID",
        "CLUSTER MYSHARDID", "CLUSTER NODES", "CLUSTER REPLICAS", "CLUSTER REPLICATE", "CLUSTER RESET",
        "CLUSTER SAVECONFIG", "CLUSTER SET-CONFIG-EPOCH", "CLUSTER SETSLOT", "CLUSTER SHARDS", "CLUSTER SLAVES",
        "CLUSTER SLOT-STATS", "CLUSTER SLOTS", "COMMAND COUNT", "COMMAND DOCS", "COMMAND GETKEYS",
        "COMMAND GETKEYSANDFLAGS", "COMMAND HELP", "COMMAND INFO", "COMMAND LIST", "COMMANDLOG GET",
        "COMMANDLOG HELP", "COMMANDLOG LEN", "COMMANDLOG RESET", "CONFIG GET", "CONFIG HELP", "CONFIG RESETSTAT",
        "CONFIG REWRITE", "CONFIG SET", "DEBUG", "DFLYCLUSTER", "DFLYMIGRATE", "ECHO", "FAILOVER", "FT.CONFIG GET",
        "FT.CONFIG HELP", "FT._DEBUG", "FT._LIST", "FUNCTION DUMP", "FUNCTION HELP", "FUNCTION KILL", "FUNCTION LIST",
        "FUNCTION STATS", "HOTKEYS GET", "HOTKEYS HELP", "HOTKEYS RESET", "HOTKEYS START", "HOTKEYS STOP", "INFO",
        "LASTSAVE", "LATENCY DOCTOR", "LATENCY GRAPH", "LATENCY HELP", "LATENCY HISTOGRAM", "LATENCY HISTORY",
        "LATENCY LATEST", "LATENCY RESET", "MEMORY DOCTOR", "MEMORY HELP", "MEMORY MALLOC-STATS", "MEMORY PURGE",
        "MEMORY STATS", "MODULE HELP", "MODULE LIST", "MODULE LOAD", "MODULE LOADEX", "MODULE UNLOAD", "OBJECT HELP",
        "PFSELFTEST", "PING", "PUBLISH", "PUBSUB CHANNELS", "PUBSUB HELP", "PUBSUB NUMPAT", "PUBSUB NUMSUB",
        "PUBSUB SHARDCHANNELS", "PUBSUB SHARDNUMSUB", "REPLICAOF", "REPLTAKEOVER", "ROLE", "SAVE", "SCRIPT EXISTS",
        "SCRIPT FLUSH", "SCRIPT HELP", "SCRIPT KILL", "SCRIPT LOAD", "SCRIPT SHOW", "SEARCH.CLUSTERINFO",
        "SEARCH.CLUSTERREFRESH", "SEARCH.CLUSTERSET", "SENTINEL CKQUORUM", "SENTINEL CONFIG", "SENTINEL DEBUG",
        "SENTINEL FAILOVER", "SENTINEL FLUSHCONFIG", "SENTINEL GET-MASTER-ADDR-BY-NAME",
        "SENTINEL GET-PRIMARY-ADDR-BY-NAME", "SENTINEL HELP", "SENTINEL INFO-CACHE",
        "SENTINEL IS-MASTER-DOWN-BY-ADDR", "SENTINEL IS-PRIMARY-DOWN-BY-ADDR", "SENTINEL MASTER", "SENTINEL MASTERS",
        "SENTINEL MONITOR", "SENTINEL MYID", "SENTINEL PENDING-SCRIPTS", "SENTINEL PRIMARIES", "SENTINEL PRIMARY",
        "SENTINEL REMOVE", "SENTINEL REPLICAS", "SENTINEL RESET", "SENTINEL SENTINELS", "SENTINEL SET",
        "SENTINEL SIMULATE-FAILURE", "SENTINEL SLAVES", "SHUTDOWN", "SLAVEOF", "SLOWLOG GET", "SLOWLOG HELP",
        "SLOWLOG LEN", "SLOWLOG RESET", "TIME", "TIMESERIES.CLUSTERSET", "TIMESERIES.REFRESHCLUSTER", "XGROUP HELP",
        "XINFO HELP",
    ]),
    group(Master, NoKey, BlockMillis(2), &["WAIT"]),
    group(Master, NoKey, BlockMillis(3), &["WAITAOF"]),
    group(Master, NoKey, Container, &[
        "ACL", "BACKUP", "CLIENT", "CLUSTER", "COMMAND", "COMMANDLOG", "CONFIG", "FT.CONFIG", "FUNCTION", "HIMPORT",
        "HOTKEYS", "LATENCY", "MEMORY", "MODULE", "OBJECT", "PUBSUB", "SCRIPT", "SENTINEL", "SLOWLOG", "XINFO",
    ]),
    group(Master, NoKey, Step(Discard), &["DISCARD"]),
    group(Master, NoKey, Step(Exec), &["EXEC"]),
    group(Master, NoKey, Step(Multi), &["MULTI"]),
    group(Master, NoKey, Step(Unwatch), &["UNWATCH"]),
    group(Master, At(1), Step(Watch), &["WATCH"]),
    group(Connection, At(1), Plain, &["SSUBSCRIBE", "SUNSUBSCRIBE"]),
    group(Connection, NoKey, Plain, &[
        "ASKING", "AUTH", "CLIENT CACHING", "CLIENT CAPA", "CLIENT GETNAME", "CLIENT GETREDIR", "CLIENT ID",
        "CLIENT IMPORT-SOURCE", "CLIENT INFO", "CLIENT NO-EVICT", "CLIENT NO-TOUCH", "CLIENT REPLY", "CLIENT SETINFO",
        "CLIENT SETNAME", "CLIENT TRACKING", "CLIENT TRACKINGINFO", "CLUSTER SYNCSLOTS", "DFLY", "HELLO",
        "HIMPORT DISCARD", "HIMPORT DISCARDALL", "HIMPORT PREPARE", "MONITOR", "PSUBSCRIBE", "PSYNC", "PUNSUBSCRIBE",
        "QUIT", "READONLY", "READWRITE", "REPLCONF", "RESET", "SCRIPT DEBUG", "SELECT", "SUBSCRIBE", "SYNC",
        "UNSUBSCRIBE",
    ]),
];
