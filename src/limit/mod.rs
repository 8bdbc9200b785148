//! Stub to compile against.
#![allow(missing_docs)]
use std::net::IpAddr;
use std::sync::Arc;
pub struct Settings {
    pub rpm: u32,
    pub burst: u32,
    pub block_ms: u64,
    pub per_org: bool,
    pub per_ip: bool,
    pub keys_max: usize,
    pub cores: usize,
}
pub struct Node;
pub enum Key {
    Org(Box<str>),
    Ip(IpAddr),
}
#[derive(Clone, Copy)]
pub struct IpKey(u8);
impl From<IpAddr> for IpKey {
    fn from(_: IpAddr) -> Self {
        Self(0)
    }
}
pub struct OrgKey<'a>(&'a str);
impl<'a> OrgKey<'a> {
    pub fn new(t: &'a str) -> Self {
        Self(t)
    }
}
#[derive(Debug)]
pub struct Permit(());
impl Permit {
    pub fn write_fields(&self, _: &mut Vec<u8>) {}
}
#[derive(Debug, Clone, Copy)]
pub enum Policy {
    Organization,
    Ip,
}
#[derive(Debug)]
pub struct Refusal {
    pub policy: Policy,
    pub limit: u32,
    pub retry_after_s: u32,
}
pub struct Info {
    pub current_count: u32,
    pub limit: u32,
    pub remaining: u32,
}
impl Node {
    pub fn new(_: Settings) -> Arc<Self> {
        Arc::new(Self)
    }
    pub fn info(&self, _: &Key, _: u64) -> Info {
        Info {
            current_count: 0,
            limit: 0,
            remaining: 0,
        }
    }
    pub fn reset(&self, _: &Key, _: u64) {}
    pub fn reset_all(&self, _: u64) {}
    pub fn keys(&self) -> usize {
        0
    }
}
pub struct Core;
impl Core {
    pub fn new(_: Arc<Node>, _: usize) -> Self {
        Self
    }
    pub fn peek_ip(&mut self, _: IpKey, _: u32, _: &impl Fn() -> u64) -> Result<(), Refusal> {
        Ok(())
    }
    pub fn take(
        &mut self,
        _: Option<OrgKey<'_>>,
        _: Option<IpKey>,
        _: u32,
        _: &impl Fn() -> u64,
    ) -> Result<Permit, Refusal> {
        Ok(Permit(()))
    }
    pub fn charge_ip(&mut self, _: IpKey, _: u32, _: &impl Fn() -> u64) {}
    pub fn tick(&mut self, _: u64) {}
}
