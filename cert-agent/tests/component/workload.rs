//! Who gets a scope's identity, and who does not: real programs, real cgroups, real attacks.

mod attacks;
mod exec;
mod node;
mod scopes;
