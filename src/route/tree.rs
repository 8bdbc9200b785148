//! All paths that matter (own endpoints, prefixes, public paths) as one tree of segments, and a position in it.
//! Not here: how a path is cut into segments. Invariant: [`Position`] says of any stack of segments, however deep,
//! exactly what matching the joined path would say, in constant space.

use super::table::Own;

const ROOT: usize = 0;
/// "No public ancestor": deeper than any path can be.
const NOWHERE: usize = usize::MAX;

/// What the route table says of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Verdict {
    pub(super) own: Option<Own>,
    pub(super) rule: Option<usize>,
    pub(super) public: bool,
}

impl Verdict {
    /// Without a rule `public` says nothing, so that paths to nowhere do not differ.
    pub(super) const fn unrouted(own: Option<Own>) -> Self {
        Self {
            own,
            rule: None,
            public: false,
        }
    }
}

/// A node for each segment of each path that matters.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    parent: usize,
    depth: usize,
    children: Vec<(Box<[u8]>, usize)>,
    /// The rule whose prefix ends here, and whether all below it is public.
    rule: Option<(usize, bool)>,
    own: Option<Own>,
    public: bool,
    /// Beginnings of a next segment below which everything is public (`/a/b*` is `b` at the node `/a`).
    public_starts: Vec<Box<[u8]>>,
}

/// A stack of segments: the deepest node on it, and how many segments lie beyond that node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    node: usize,
    beyond: usize,
    /// The depth at which the stack came under a public wildcard.
    public_from: usize,
}

impl Position {
    pub(super) const START: Self = Self {
        node: ROOT,
        beyond: 0,
        public_from: NOWHERE,
    };
}

/// The segments of a path that begins with a slash; `/a/` has an empty last one, `/` only that.
pub(super) fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.strip_prefix(b"/")
        .unwrap_or(path)
        .split(|byte| *byte == b'/')
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            // The root is its own parent, so every climb ends there.
            nodes: vec![Node::new(ROOT, 0)],
        }
    }

    pub(super) fn add_own(&mut self, path: &str, own: Own) {
        let at = self.grow(path.as_bytes());
        if let Some(node) = self.nodes.get_mut(at) {
            node.own = Some(own);
        }
    }

    /// `prefix` has no slash at its end; the root is the empty prefix.
    pub(super) fn add_rule(&mut self, prefix: &str, rule: usize, public: bool) {
        let at = if prefix.is_empty() {
            ROOT
        } else {
            self.grow(prefix.as_bytes())
        };
        if let Some(node) = self.nodes.get_mut(at) {
            node.rule = Some((rule, public));
        }
    }

    pub(super) fn add_public(&mut self, path: &str) {
        let at = self.grow(path.as_bytes());
        if let Some(node) = self.nodes.get_mut(at) {
            node.public = true;
        }
    }

    /// Everything whose text starts with `start` is public.
    pub(super) fn add_public_start(&mut self, start: &str) {
        let (parent, last) = start.rsplit_once('/').unwrap_or(("", start));
        let at = if parent.is_empty() {
            ROOT
        } else {
            self.grow(parent.as_bytes())
        };
        if let Some(node) = self.nodes.get_mut(at) {
            node.public_starts.push(last.as_bytes().into());
        }
    }

    fn grow(&mut self, path: &[u8]) -> usize {
        let mut at = ROOT;
        for segment in segments(path) {
            at = match self.child(at, segment) {
                Some(child) => child,
                None => self.sprout(at, segment),
            };
        }
        at
    }

    fn sprout(&mut self, parent: usize, segment: &[u8]) -> usize {
        let new = self.nodes.len();
        let depth = self.depth(parent) + 1;
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.push((segment.into(), new));
        }
        self.nodes.push(Node::new(parent, depth));
        new
    }

    fn child(&self, at: usize, segment: &[u8]) -> Option<usize> {
        let children = &self.nodes.get(at)?.children;
        children
            .iter()
            .find(|(name, _)| **name == *segment)
            .map(|(_, child)| *child)
    }

    fn depth(&self, at: usize) -> usize {
        self.nodes.get(at).map_or(0, |node| node.depth)
    }

    /// How many segments are on the stack.
    pub(super) fn height(&self, position: Position) -> usize {
        self.depth(position.node) + position.beyond
    }

    pub(super) fn push(&self, position: Position, segment: &[u8]) -> Position {
        let mut next = position;
        // Off the tree no further name leads back onto it; only climbing does.
        let on_tree = position.beyond == 0;
        match self.child(position.node, segment).filter(|_| on_tree) {
            Some(child) => next.node = child,
            None => next.beyond += 1,
        }
        if on_tree
            && position.public_from == NOWHERE
            && let Some(node) = self.nodes.get(position.node)
            && node
                .public_starts
                .iter()
                .any(|start| segment.starts_with(start))
        {
            next.public_from = self.height(next);
        }
        next
    }

    /// One segment up; at the root it stays (RFC 3986, 5.2.4).
    pub(super) fn pop(&self, position: Position) -> Position {
        let mut next = position;
        if position.beyond > 0 {
            next.beyond -= 1;
        } else if let Some(node) = self.nodes.get(position.node) {
            next.node = node.parent;
        }
        // Climbed out of the wildcard: with `/public/*`, `/public/../private` is not public.
        if next.public_from != NOWHERE && self.height(next) < next.public_from {
            next.public_from = NOWHERE;
        }
        next
    }

    pub(super) fn verdict(&self, position: Position) -> Verdict {
        let node = self.nodes.get(position.node);
        let exact = node.filter(|_| position.beyond == 0);
        let own = exact.and_then(|node| node.own);
        let public = position.public_from != NOWHERE || exact.is_some_and(|node| node.public);
        // An own endpoint beats the rule that it lies under.
        match self.rule_above(position.node).filter(|_| own.is_none()) {
            Some((rule, all_public)) => Verdict {
                own,
                rule: Some(rule),
                public: public || all_public,
            },
            None => Verdict::unrouted(own),
        }
    }

    /// The rule of the longest prefix: the first one met on the way up.
    fn rule_above(&self, mut at: usize) -> Option<(usize, bool)> {
        loop {
            let node = self.nodes.get(at)?;
            if node.rule.is_some() || at == ROOT {
                return node.rule;
            }
            at = node.parent;
        }
    }
}

impl Node {
    fn new(parent: usize, depth: usize) -> Self {
        Self {
            parent,
            depth,
            children: Vec::new(),
            rule: None,
            own: None,
            public: false,
            public_starts: Vec::new(),
        }
    }
}
