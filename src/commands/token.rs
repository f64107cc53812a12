//! `mcp-cli token`: claims from flags, signed and printed; the key files behind them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use directories::ProjectDirs;
use serde_json::Value;
use url::Url;

use super::args::{self, SecretSource};
use super::signals::StopSignals;
use super::{clock, frame};
use crate::auth::{
    self, Algorithm, Claims, Created, KeySetPlace, KeySize, KeySource, Policy, SigningKey,
    Verifier, VerifyingKey,
};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::secret::Secret;
use crate::ui::Ui;

/// Mint a token for development, and print it
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
The developer key pair is generated on first use and never leaves this machine. Do not use it for
anything else.

Examples:
  mcp-cli token --audience dice-server            a token for `mcp-cli serve --auth`, for an hour
  mcp-cli token --scopes dice:roll --out t.jwt    one with a scope, into a file
  mcp-cli token public-key                        what another server needs to verify them
  mcp-cli token verify @t.jwt --jwks https://issuer.example/jwks.json   one from elsewhere")]
pub struct TokenArgs {
    #[command(subcommand)]
    command: Option<TokenCommand>,

    #[command(flatten)]
    mint: MintArgs,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    Keygen(KeygenArgs),
    PublicKey(PublicKeyArgs),
    Inspect(InspectArgs),
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct MintArgs {
    #[command(flatten)]
    key: KeyArgs,

    /// Audience (`aud`)
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,

    /// Issuer (`iss`)
    #[arg(long, value_name = "URL", default_value_t = Claims::default().issuer)]
    issuer: String,

    /// Subject (`sub`)
    #[arg(long, value_name = "NAME", default_value_t = Claims::default().subject)]
    subject: String,

    /// Scopes (`scope`)
    #[arg(long, value_delimiter = ',', value_name = "SCOPE,...")]
    scopes: Vec<String>,

    /// Lifetime (`exp`)
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = args::duration)]
    expires_in: Duration,

    /// A further claim, which replaces one of the same name
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = args::key_json)]
    claims: Vec<(String, Value)>,

    /// Key id (`kid`) in the header
    #[arg(long, value_name = "ID")]
    kid: Option<String>,

    /// Signature algorithm: RS256, RS384, RS512, PS256, PS384 or PS512
    #[arg(long, value_name = "NAME", default_value_t)]
    algorithm: Algorithm,

    /// Write the token to a file that only you can read
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Replace an existing file
    #[arg(long, requires = "out")]
    force: bool,
}

/// Which private key.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// Sign with this private key in PEM instead
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// The folder of the developer key pair [default: this program's data folder]
    #[arg(long, value_name = "DIR", env = "MCP_CLI_KEY_DIR")]
    key_dir: Option<PathBuf>,
}

impl KeyArgs {
    /// The key that these arguments name; the one for development is made on first use.
    pub fn load(&self, ui: &mut Ui) -> Result<SigningKey, Error> {
        if let Some(path) = &self.key {
            return Ok(SigningKey::load(path)?);
        }
        let folder = key_dir(self.key_dir.clone())?;
        let (key, created) = SigningKey::load_or_create(&folder)?;
        if created == Created::Yes {
            let path = folder.join(auth::DEV_KEY_FILE);
            ui.note(&format!(
                "made a key pair for development: {}",
                path.display()
            ));
        }
        Ok(key)
    }
}

fn key_dir(given: Option<PathBuf>) -> Result<PathBuf, Error> {
    given
        .or_else(|| Some(ProjectDirs::from("", "", "mcp-cli")?.data_dir().to_owned()))
        .ok_or_else(Error::no_home)
}

/// Generate a new developer key pair
#[derive(Debug, clap::Args)]
struct KeygenArgs {
    /// The size of the key in bits: 2048, 3072 or 4096
    #[arg(long, value_name = "BITS", default_value = "2048")]
    bits: KeySize,

    /// The folder to write it to [default: this program's data folder]
    #[arg(long, value_name = "DIR", env = "MCP_CLI_KEY_DIR")]
    key_dir: Option<PathBuf>,

    /// Replace an existing key pair, whose tokens then become invalid
    #[arg(long)]
    force: bool,
}

/// Print the public key, for a server that verifies the tokens
#[derive(Debug, clap::Args)]
struct PublicKeyArgs {
    #[command(flatten)]
    key: KeyArgs,

    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "pem")]
    format: PublicKeyFormat,

    /// Key id (`kid`) in the JWKS [default: its thumbprint]
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum PublicKeyFormat {
    Pem,
    Jwks,
}

/// Decode a token without verifying it
#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// The token, or its file; `-` or no argument reads it from stdin
    #[arg(value_name = "TOKEN|FILE|-")]
    token: Option<SecretSource>,
}

/// Verify a token as `serve --auth` would: exit 0, or 1 with the reason
#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The token, or its file; `-` or no argument reads it from stdin
    #[arg(value_name = "TOKEN|FILE|-")]
    token: Option<SecretSource>,

    #[command(flatten)]
    verifier: VerifierArgs,
}

/// What a token must be and say, for `serve --auth` and `token verify`.
#[derive(Debug, clap::Args)]
pub struct VerifierArgs {
    /// The public key in PEM that verifies tokens: RSA, EC P-256, EC P-384 or Ed25519 [default: the
    /// developer key pair]
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,

    /// The key set (JWKS) that verifies tokens; one at a URL is fetched again when its keys change
    #[arg(long, value_name = "FILE|URL", conflicts_with = "public_key")]
    jwks: Option<String>,

    /// The folder of the developer key pair [default: this program's data folder]
    #[arg(long, value_name = "DIR", env = "MCP_CLI_KEY_DIR")]
    key_dir: Option<PathBuf>,

    /// Required audience (`aud`) [default: dice-server]
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,

    /// Required issuer (`iss`) [default: any]
    #[arg(long, value_name = "URL")]
    issuer: Vec<String>,

    /// Required scopes
    #[arg(long, value_delimiter = ',', value_name = "SCOPE,...")]
    required_scopes: Vec<String>,

    /// Required signature algorithm of an RSA key: RS256, RS384, RS512, PS256, PS384 or PS512 [default:
    /// RS256]
    #[arg(long, value_name = "NAME")]
    algorithm: Option<Algorithm>,

    /// Tolerated clock difference to the issuer [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    leeway: Option<Duration>,
}

impl VerifierArgs {
    /// Reads the files that these arguments name. Nothing is fetched yet.
    pub fn read(&self, ui: &mut Ui) -> Result<Verification, Error> {
        let policy = Policy {
            issuers: self.issuer.clone(),
            audiences: self.audiences(),
            required_scopes: self.required_scopes.clone(),
            leeway: self.leeway.unwrap_or_default(),
        };
        let keys = self.keys(ui)?;
        Ok(Verification { keys, policy })
    }

    fn keys(&self, ui: &mut Ui) -> Result<TrustedKeys, Error> {
        if let Some(place) = &self.jwks {
            return Ok(match place.parse()? {
                KeySetPlace::File(path) => KeySource::read(path, self.algorithm)?.into(),
                KeySetPlace::Url(url) => TrustedKeys::Published(url, self.algorithm),
            });
        }
        let key = match &self.public_key {
            Some(path) => VerifyingKey::load(path)?,
            None => self.signing_key(ui)?.verifying_key().clone(),
        };
        Ok(KeySource::from(key.pin(self.algorithm)?).into())
    }

    /// A token that the verifier accepts, signed with the key pair for development.
    pub fn mint(&self, ui: &mut Ui) -> Result<Secret, Error> {
        let claims = Claims {
            issuer: self
                .issuer
                .first()
                .cloned()
                .unwrap_or_else(|| Claims::default().issuer),
            audience: self.audiences(),
            scopes: self.required_scopes.clone(),
            ..Claims::default()
        };
        let key = self.signing_key(ui)?;
        Ok(claims.mint(&key, self.algorithm.unwrap_or_default(), SystemTime::now())?)
    }

    /// The first of these flags that is given: without `--auth` none of them would do anything.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("--public-key", self.public_key.is_some()),
            ("--jwks", self.jwks.is_some()),
            ("--audience", !self.audience.is_empty()),
            ("--issuer", !self.issuer.is_empty()),
            ("--required-scopes", !self.required_scopes.is_empty()),
            ("--algorithm", self.algorithm.is_some()),
            ("--leeway", self.leeway.is_some()),
        ];
        let (flag, _) = given.into_iter().find(|(_, is_given)| *is_given)?;
        Some(flag)
    }

    fn audiences(&self) -> Vec<String> {
        match self.audience.as_slice() {
            [] => vec!["dice-server".to_owned()],
            given => given.to_vec(),
        }
    }

    /// Whether the key is one that tokens cannot be minted with here.
    pub fn has_foreign_key(&self) -> bool {
        self.public_key.is_some() || self.jwks.is_some()
    }

    fn signing_key(&self, ui: &mut Ui) -> Result<SigningKey, Error> {
        let key = KeyArgs {
            key: None,
            key_dir: self.key_dir.clone(),
        };
        key.load(ui)
    }
}

/// What tokens are verified with, before a key set at a URL has been fetched.
pub struct Verification {
    keys: TrustedKeys,
    policy: Policy,
}

enum TrustedKeys {
    Read(KeySource),
    Published(Url, Option<Algorithm>),
}

impl From<KeySource> for TrustedKeys {
    fn from(keys: KeySource) -> Self {
        Self::Read(keys)
    }
}

impl Verification {
    /// The verifier, with the keys that are published at a URL.
    pub async fn verifier(self) -> Result<Verifier, Error> {
        let keys = match self.keys {
            TrustedKeys::Read(keys) => keys,
            TrustedKeys::Published(url, algorithm) => {
                KeySource::fetch(url, algorithm, SystemTime::now()).await?
            }
        };
        Ok(Verifier::new(keys, self.policy))
    }
}

pub fn token(args: TokenArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    match args.command {
        None => frame::local(ui, |ui| mint(args.mint, ui)),
        Some(TokenCommand::Keygen(args)) => frame::local(ui, |ui| keygen(args, ui)),
        Some(TokenCommand::PublicKey(args)) => frame::local(ui, |ui| public_key(&args, ui)),
        Some(TokenCommand::Inspect(args)) => frame::local(ui, |ui| inspect(args, ui)),
        // It may have to fetch a key set.
        Some(TokenCommand::Verify(args)) => frame::client(ui, |ui| read_verify(args, ui), verify),
    }
}

fn mint(args: MintArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let key = args.key.load(ui)?;
    let claims = Claims {
        subject: args.subject,
        issuer: args.issuer,
        audience: args.audience,
        scopes: args.scopes,
        expires_in: args.expires_in,
        additional: args.claims.into_iter().collect(),
        kid: args.kid,
    };
    let token = claims.mint(&key, args.algorithm, SystemTime::now())?;
    match args.out {
        Some(path) => token.save(&path, args.force)?,
        None => ui.print(token.expose())?,
    }
    Ok(ExitStatus::Done)
}

fn keygen(args: KeygenArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let path = key_dir(args.key_dir)?.join(auth::DEV_KEY_FILE);
    SigningKey::generate(args.bits)?.save(&path, args.force)?;
    ui.print(&path.display().to_string())?;
    Ok(ExitStatus::Done)
}

fn public_key(args: &PublicKeyArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let key = args.key.load(ui)?;
    match args.format {
        PublicKeyFormat::Pem => ui.print(key.public_pem().trim_end())?,
        PublicKeyFormat::Jwks => ui.print(&format!("{:#}", key.jwks(args.kid.as_deref())))?,
    }
    Ok(ExitStatus::Done)
}

fn inspect(args: InspectArgs, ui: &mut Ui) -> Result<ExitStatus, Error> {
    let token = args
        .token
        .unwrap_or(SecretSource::Stdin)
        .or_file()
        .read("the token")?;
    let inspection = auth::inspect(token.expose())?;
    ui.note("nothing here is verified: anybody can write such a token");
    ui.print(&format!(
        "{:#}",
        serde_json::json!({"header": inspection.header, "claims": inspection.claims})
    ))?;
    for (claim, meaning) in [("iat", "issued"), ("nbf", "not before"), ("exp", "expires")] {
        if let Some(time) = inspection.claims[claim].as_f64().and_then(time_of) {
            ui.note(&format!("{meaning} {}", told(time, SystemTime::now())));
        }
    }
    Ok(ExitStatus::Done)
}

fn read_verify(args: VerifyArgs, ui: &mut Ui) -> Result<(Verification, Secret), Error> {
    let token = args.token.unwrap_or(SecretSource::Stdin).or_file();
    let token = token.read("the token")?;
    Ok((args.verifier.read(ui)?, token))
}

async fn verify(
    (verification, token): (Verification, Secret),
    mut signals: StopSignals,
    ui: &mut Ui,
) -> Result<ExitStatus, Error> {
    let verifying = async {
        let verifier = verification.verifier().await?;
        let now = SystemTime::now();
        let verified = verifier.verify(token.expose(), now).await;
        verified.map_err(|rejection| {
            let said = auth::said(token.expose(), now);
            Error::from(rejection).with_note(said)
        })
    };
    let verified = signals.or(verifying).await?;
    let subject = verified.subject.as_deref().unwrap_or("nobody");
    ui.print(&format!(
        "valid: for {subject}, expires {}",
        told(verified.expires_at, SystemTime::now())
    ))?;
    Ok(ExitStatus::Done)
}

fn time_of(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// `2026-11-22T12:00:00Z (in 59m 12s)`; for a time that cannot be written as a date, the distance alone.
fn told(time: SystemTime, now: SystemTime) -> String {
    let whole =
        |it: Duration| humantime::format_duration(Duration::from_secs(it.as_secs())).to_string();
    let distance = match time.duration_since(now) {
        Ok(ahead) => format!("in {}", whole(ahead)),
        Err(ago) => format!("{} ago", whole(ago.duration())),
    };
    match clock::is_expressible(time) {
        true => format!("{} ({distance})", humantime::format_rfc3339_seconds(time)),
        false => distance,
    }
}
