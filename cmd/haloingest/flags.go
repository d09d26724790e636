package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/config"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
)

const envPrefix = "HALOINGEST_"

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// nameEnv gives a flag its environment variable: --some-flag is HALOINGEST_SOME_FLAG.
func nameEnv(flag cli.Flag) {
	name := envName(flag.Names()[0])
	// Every flag type of the library has this field; there is no method to set it.
	reflect.ValueOf(flag).Elem().FieldByName("EnvVars").Set(reflect.ValueOf([]string{name}))
	switch flag := flag.(type) {
	case *cli.BoolFlag:
		flag.DisableDefaultText = true
	case *cli.DurationFlag:
		if flag.DefaultText == "" {
			flag.DefaultText = shortDuration(flag.Value)
		}
	}
}

// Categories under which --help lists the flags.
const (
	categoryStore = "Where things are kept"
	categoryIO    = "Output"
	categoryAPI   = "Intercom"
)

// storeFlags say where the data goes. Every command that touches the database has them.
func storeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "database-url", Usage: "PostgreSQL `URL`; without it a private server is run from the data directory", Category: categoryStore},
		&cli.StringFlag{Name: "data-dir", Usage: "directory `DIR` for the private server and the kept master key", Value: config.DefaultDataDir, Category: categoryStore},
		&cli.StringFlag{Name: "master-key-file", Usage: "`FILE` with the 32-byte key that seals secrets, or with a URI as for --master-key-uri (or HALOINGEST_MASTER_KEY; without any, a key made once in the data directory)", Category: categoryStore},
		&cli.StringFlag{Name: "master-key-uri", Usage: "`URI` of the key in a KMS that seals secrets: awskms://, gcpkms://, azurekeyvault:// or hashivault://", Category: categoryStore},
		&cli.StringFlag{Name: "old-master-key-file", Usage: "`FILE` with the master key before it, for what is sealed with that one still (or HALOINGEST_OLD_MASTER_KEY)", Category: categoryStore},
	}
}

// outputFlags are common to all commands.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print the result as JSON", Category: categoryIO},
		&cli.StringFlag{Name: "log-level", Usage: "`LEVEL` of log lines: debug, info, warn, error", Value: "info", Category: categoryIO},
		&cli.StringFlag{Name: "log-format", Usage: "log lines as `FORMAT` text or json", Value: "text", Category: categoryIO},
	}
}

// apiFlags are common to the commands that talk to Intercom.
func apiFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "intercom-url", Usage: "operator's `URL` in place of the region's host; plain http on loopback only", Category: categoryAPI},
		&cli.StringFlag{Name: "intercom-version", Usage: "`VERSION` of Intercom's API to ask for", Value: config.DefaultIntercomVersion, Category: categoryAPI},
		&cli.IntFlag{Name: "max-requests-per-minute", Usage: "use at most `N` API requests a minute, below what Intercom allows", DefaultText: "what it allows", Category: categoryAPI},
		&cli.IntFlag{Name: "concurrency", Usage: "have at most `N` API requests under way", Value: config.DefaultConcurrency, Category: categoryAPI},
		&cli.DurationFlag{Name: "scroll-wait", Usage: "`SPAN` after which a company scroll that another program holds is tried again", Value: config.DefaultScrollWait, Category: categoryAPI},
	}
}

func orgFlag() cli.Flag {
	return &cli.StringFlag{Name: "org", Usage: "Halo's `ID` (a UUID) of the organisation"}
}

func concat(groups ...[]cli.Flag) []cli.Flag {
	var all []cli.Flag
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// config reads the common flags of the running command.
func (a *app) config(c *cli.Context) (config.Config, error) {
	dataDir := cmp.Or(c.String("data-dir"), config.DefaultDataDir)
	cfg := config.Config{
		DatabaseURL: c.String("database-url"),
		DataDir:     dataDir,
		MasterKey: secret.MasterKey{
			Value:    secret.NewText(os.Getenv(envPrefix + "MASTER_KEY")),
			File:     c.String("master-key-file"),
			URI:      secret.NewText(c.String("master-key-uri")),
			DataDir:  dataDir,
			OldFile:  c.String("old-master-key-file"),
			OldValue: secret.NewText(os.Getenv(envPrefix + "OLD_MASTER_KEY")),
		},
		IntercomURL:          c.String("intercom-url"),
		IntercomVersion:      c.String("intercom-version"),
		MaxRequestsPerMinute: c.Int("max-requests-per-minute"),
		Concurrency:          c.Int("concurrency"),
		ScrollWait:           c.Duration("scroll-wait"),
		LogLevel:             c.String("log-level"),
		LogFormat:            c.String("log-format"),
	}
	if uri := c.String("master-key-uri"); secret.HoldsKey(uri) && uri != os.Getenv(envName("master-key-uri")) {
		return cfg, usagef("--master-key-uri: base64key:// is the key itself, which others can see among a command's words; want it in a file (--master-key-file) or in the environment")
	}
	if c.IsSet("concurrency") && cfg.Concurrency == 0 {
		return cfg, usagef("--concurrency 0: want 1 or more")
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usagef("%w", err)
	}
	return cfg, nil
}

// org reads --org, which is required where a command has it.
func org(c *cli.Context) (record.UUID, error) {
	text := c.String("org")
	if text == "" {
		return record.UUID{}, usagef("--org is missing: Halo's id of the organisation, a UUID")
	}
	id, err := record.ParseUUID(text)
	if err != nil {
		return record.UUID{}, usagef("--org: %w", err)
	}
	if id.IsZero() {
		return record.UUID{}, usagef("--org: the nil UUID names no organisation")
	}
	return id, nil
}

// atLeastZero reads a number that cannot be negative.
func atLeastZero(c *cli.Context, flag string) (int, error) {
	n := c.Int(flag)
	if n < 0 {
		return 0, usagef("--%s %d: want 0 or more", flag, n)
	}
	return n, nil
}

// noOperands refuses words that a command has no use for, so that a forgotten dash does not pass.
func noOperands(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%q is not expected here; run: haloingest %s --help", c.Args().First(), c.Command.FullName())
	}
	return nil
}

// maxSecretFile is far above any token's length and keeps a wrong file from being read whole.
const maxSecretFile = 4 << 10

// readSecret reads the secret of --<flag>-file: a file, standard input for "-", or the variable
// HALOINGEST_<FLAG>. It is empty where none is given. No error shows any of it.
func (a *app) readSecret(c *cli.Context, flag string) (secret.Text, error) {
	file := c.String(flag + "-file")
	from := fmt.Sprintf("--%s-file: %s", flag, file)
	var in io.Reader
	switch file {
	case "":
		name := envName(flag)
		text := os.Getenv(name)
		if text == "" {
			return secret.Text{}, nil
		}
		from, in = name, strings.NewReader(text)
	case "-":
		from, in = fmt.Sprintf("--%s-file: standard input", flag), a.stdin
	default:
		f, err := os.Open(file)
		if err != nil {
			return secret.Text{}, usagef("--%s-file: %w", flag, err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxSecretFile+1))
	if err != nil {
		return secret.Text{}, usagef("%s: %w", from, err)
	}
	text := secret.NewText(string(b))
	switch {
	case len(b) > maxSecretFile:
		return secret.Text{}, usagef("%s is larger than %d bytes: that is no secret of Intercom's", from, maxSecretFile)
	case text.IsEmpty():
		return secret.Text{}, usagef("%s is empty", from)
	case strings.ContainsAny(text.Reveal(), "\n\r"):
		return secret.Text{}, usagef("%s holds more than one line; want the secret alone", from)
	case strings.ContainsFunc(text.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return secret.Text{}, usagef("%s holds blanks or characters that no secret of Intercom's has; want the secret alone", from)
	}
	return text, nil
}

// kinds reads --only, a list of streams. Empty means all.
func kinds(c *cli.Context) ([]record.Kind, error) {
	asked := map[record.Kind]bool{}
	for _, word := range strings.Split(c.String("only"), ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		found := false
		for _, kind := range record.Kinds {
			if kind.Stream() == word {
				asked[kind], found = true, true
			}
		}
		if !found {
			return nil, usagef("--only: %q is none of contacts, companies, conversations, tickets", word)
		}
	}
	if text := c.String("only"); text != "" && len(asked) == 0 {
		return nil, usagef("--only: %q names no stream; want some of contacts, companies, conversations, tickets", text)
	}
	var list []record.Kind
	for _, kind := range record.Kinds {
		if asked[kind] {
			list = append(list, kind)
		}
	}
	return list, nil
}

// since reads a point in time: RFC 3339, a date, or a duration back from now such as 72h or 30d. Spans
// begin at a full hour or day, so that the same command given again a little later means the same and
// goes on where it stopped.
func since(c *cli.Context, now time.Time) (time.Time, error) {
	text := strings.TrimSpace(c.String("since"))
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			if t.After(now) {
				return time.Time{}, usagef("--since: %s is in the future", text)
			}
			return notTooEarly(t.UTC(), text)
		}
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil { // as Intercom writes times
		t := time.Unix(seconds, 0).UTC()
		if t.After(now) {
			return time.Time{}, usagef("--since: %s is in the future", text)
		}
		return notTooEarly(t, text)
	}
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.ParseUint(number, 10, 16); err == nil {
			return notTooEarly(now.UTC().AddDate(0, 0, -int(days)).Truncate(24*time.Hour), text)
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return notTooEarly(now.UTC().Add(-d).Truncate(time.Hour), text)
	}
	return time.Time{}, usagef("--since: cannot read %q; want a date (2026-01-31), a time (2026-01-31T12:00:00Z), both in UTC, or a span back from now (72h, 30d)", text)
}

// notTooEarly refuses what is certainly a slip: Intercom began in 2011.
func notTooEarly(t time.Time, text string) (time.Time, error) {
	if t.Year() < 2000 {
		return time.Time{}, usagef("--since: %s is %s, long before there was an Intercom; leave --since away to read everything", text, t.Format(time.DateOnly))
	}
	return t, nil
}
