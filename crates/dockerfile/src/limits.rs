//! Caps on what one Dockerfile may cost, with their defaults, and the budget that is spent while words are expanded.
//!
//! BuildKit has none of these: twenty-four lines of `ENV A=$A$A` (310 bytes) make it hold a 268 MB value. Every cap here is
//! far above what real files need and far below what hurts.

use std::fmt;

/// Instructions that a file may have in strict mode. Images of more than 127 layers can't be run anyway.
pub const INSTRUCTIONS_MAX: usize = 1024;
/// Words that one instruction may have in strict mode; a pair of `ENV` or `LABEL` counts as three.
pub const WORDS_MAX: usize = 2048;
/// Flags, and likewise heredocs, that one instruction may have in strict mode.
pub const FLAGS_MAX: usize = 256;

/// Caps on one conversion. Sizes are bytes, the rest are counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest value one word may expand to. Default 128 KiB, which is Linux's cap on one environment string.
    pub value_bytes_max: usize,
    /// Sum of all expanded text of one Dockerfile. Default 1 MiB.
    pub expanded_bytes_max: usize,
    /// Characters that patterns such as `${x%%*.tar}` may look at, in one Dockerfile. Default 128 Ki.
    pub pattern_steps_max: usize,
    /// How deep `${a:-${b:-...}}` may nest. Default 64.
    pub nesting_max: usize,
    /// Environment variables of one stage (ARG and ENV together). Default 4096.
    pub env_max: usize,
    /// Exposed ports of one image. Default 1024, which leaves room for one generous range.
    pub ports_max: usize,
    /// Sum of the history and of what the operations hold (arguments, environments, directories). Default 2 MiB.
    pub output_bytes_max: usize,
    /// `ONBUILD` triggers, of the base image and of the file. Default 256.
    pub triggers_max: usize,
    /// Operations of one conversion, over all its stages. Default 16384.
    pub ops_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            value_bytes_max: 128 << 10,
            expanded_bytes_max: 1 << 20,
            pattern_steps_max: 128 << 10,
            nesting_max: 64,
            env_max: 4096,
            ports_max: 1024,
            output_bytes_max: 2 << 20,
            triggers_max: 256,
            ops_max: 16 << 10,
        }
    }
}

impl Limits {
    /// Room for nearly everything that BuildKit accepts, at a cost no service should pay: values of 32 MiB, every port of
    /// its three protocols. For comparing with BuildKit.
    #[must_use]
    pub fn reference() -> Self {
        Limits {
            value_bytes_max: 32 << 20,
            expanded_bytes_max: 256 << 20,
            nesting_max: 16 << 10,
            ports_max: 3 * 65_536,
            output_bytes_max: 256 << 20,
            pattern_steps_max: 64 << 20,
            triggers_max: 64 << 10,
            ..Limits::default()
        }
    }
}

/// Which cap was reached; `Display` names it with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitReached {
    /// One word expanded to more than this many bytes.
    ValueBytes(usize),
    /// All words together expanded to more than this many bytes.
    ExpandedBytes(usize),
    /// Patterns looked at more than this many characters.
    PatternSteps(usize),
    /// `${...}` nested deeper than this.
    Nesting(usize),
    /// More environment variables than this.
    Env(usize),
    /// More exposed ports than this.
    Ports(usize),
    /// History and operations hold more than this many bytes.
    OutputBytes(usize),
    /// More triggers than this.
    Triggers(usize),
    /// More operations than this.
    Ops(usize),
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitReached::ValueBytes(max) => write!(f, "a value expands to more than {max} bytes"),
            LimitReached::ExpandedBytes(max) => write!(f, "the file expands to more than {max} bytes"),
            LimitReached::PatternSteps(max) => write!(f, "matching patterns takes more than {max} steps"),
            LimitReached::Nesting(max) => write!(f, "substitutions nest deeper than {max}"),
            LimitReached::Env(max) => write!(f, "more than {max} environment variables"),
            LimitReached::Ports(max) => write!(f, "more than {max} exposed ports"),
            LimitReached::OutputBytes(max) => write!(f, "history and operations hold more than {max} bytes"),
            LimitReached::Triggers(max) => write!(f, "more than {max} triggers"),
            LimitReached::Ops(max) => write!(f, "more than {max} operations"),
        }
    }
}

impl std::error::Error for LimitReached {}

/// What is left of the [`Limits`] while one Dockerfile is converted.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Limits,
    bytes_spent: usize,
    steps_spent: usize,
    output_spent: usize,
    ports_spent: usize,
}

impl Budget {
    /// A full budget.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Budget { limits, bytes_spent: 0, steps_spent: 0, output_spent: 0, ports_spent: 0 }
    }

    /// The caps this budget came from.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes `bytes` of expanded text.
    ///
    /// # Errors
    /// [`LimitReached::ExpandedBytes`] when they are not there.
    pub fn spend_bytes(&mut self, bytes: usize) -> Result<(), LimitReached> {
        spend(&mut self.bytes_spent, bytes, self.limits.expanded_bytes_max, LimitReached::ExpandedBytes)
    }

    /// Takes `steps` of pattern matching, a step being one look at one character.
    ///
    /// # Errors
    /// [`LimitReached::PatternSteps`] when they are not there.
    pub fn spend_steps(&mut self, steps: usize) -> Result<(), LimitReached> {
        spend(&mut self.steps_spent, steps, self.limits.pattern_steps_max, LimitReached::PatternSteps)
    }

    /// Takes `bytes` of history or of an operation.
    ///
    /// # Errors
    /// [`LimitReached::OutputBytes`] when they are not there.
    pub fn spend_output(&mut self, bytes: usize) -> Result<(), LimitReached> {
        spend(&mut self.output_spent, bytes, self.limits.output_bytes_max, LimitReached::OutputBytes)
    }

    /// Takes `ports` exposed ports.
    ///
    /// # Errors
    /// [`LimitReached::Ports`] when they are not there.
    pub fn spend_ports(&mut self, ports: usize) -> Result<(), LimitReached> {
        spend(&mut self.ports_spent, ports, self.limits.ports_max, LimitReached::Ports)
    }

    /// Refuses a value that grew to `bytes`.
    ///
    /// # Errors
    /// [`LimitReached::ValueBytes`] when it is over the cap.
    pub fn check_value(&self, bytes: usize) -> Result<(), LimitReached> {
        let max = self.limits.value_bytes_max;
        if bytes > max { Err(LimitReached::ValueBytes(max)) } else { Ok(()) }
    }
}

fn spend(
    spent: &mut usize,
    amount: usize,
    max: usize,
    reached: impl Fn(usize) -> LimitReached,
) -> Result<(), LimitReached> {
    *spent = spent.saturating_add(amount);
    if *spent > max { Err(reached(max)) } else { Ok(()) }
}
