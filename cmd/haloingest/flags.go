package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/config"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
)

const envPrefix = "HALOINGEST_"

// nameEnv gives a flag its environment variable: --some-flag is HALOINGEST_SOME_FLAG.
func nameEnv(flag cli.Flag) {
	name := envPrefix + strings.ToUpper(strings.ReplaceAll(flag.Names()[0], "-", "_"))
	// Every flag type of the library has this field; there is no method to set it.
	reflect.ValueOf(flag).Elem().FieldByName("EnvVars").Set(reflect.ValueOf([]string{name}))
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
		&cli.StringFlag{Name: "data-dir", Usage: "`DIR`ectory for the private server and the kept master key", Value: config.DefaultDataDir, Category: categoryStore},
		&cli.StringFlag{Name: "master-key-file", Usage: "`FILE` with the 32-byte key that seals secrets (default: one made once in the data directory; or HALOINGEST_MASTER_KEY)", Category: categoryStore},
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
		&cli.IntFlag{Name: "max-requests-per-minute", Usage: "use at most `N` API requests a minute, below what Intercom allows (0: what it allows)", Category: categoryAPI},
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
	a.json = c.Bool("json")
	cfg := config.Config{
		DatabaseURL: c.String("database-url"),
		DataDir:     c.String("data-dir"),
		MasterKey: secret.MasterKey{
			Value:   secret.NewText(os.Getenv(envPrefix + "MASTER_KEY")),
			File:    c.String("master-key-file"),
			DataDir: c.String("data-dir"),
		},
		IntercomURL:          c.String("intercom-url"),
		IntercomVersion:      c.String("intercom-version"),
		MaxRequestsPerMinute: c.Int("max-requests-per-minute"),
		Concurrency:          c.Int("concurrency"),
		ScrollWait:           c.Duration("scroll-wait"),
		LogLevel:             c.String("log-level"),
		LogFormat:            c.String("log-format"),
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

// noOperands refuses words that a command has no use for, so that a forgotten dash does not pass.
func noOperands(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%q is not expected here; run: haloingest %s --help", c.Args().First(), c.Command.FullName())
	}
	return nil
}

// maxSecretFile is far above any token's length and keeps a wrong file from being read whole.
const maxSecretFile = 64 << 10

// readSecret reads the secret of --<flag>-file: a file, standard input for "-", or the variable
// HALOINGEST_<FLAG>. It is empty where none is given.
func (a *app) readSecret(c *cli.Context, flag string) (secret.Text, error) {
	file := c.String(flag + "-file")
	var b []byte
	var err error
	switch file {
	case "":
		return secret.NewText(os.Getenv(envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")))), nil
	case "-":
		b, err = io.ReadAll(io.LimitReader(a.stdin, maxSecretFile))
	default:
		var f *os.File
		if f, err = os.Open(file); err == nil {
			b, err = io.ReadAll(io.LimitReader(f, maxSecretFile))
			f.Close()
		}
	}
	if err != nil {
		return secret.Text{}, usagef("--%s-file: %w", flag, err)
	}
	text := secret.NewText(string(b))
	switch {
	case text.IsEmpty():
		return text, usagef("--%s-file: %s is empty", flag, file)
	case strings.ContainsAny(text.Reveal(), "\n\r\x00"):
		return secret.Text{}, usagef("--%s-file: %s holds more than one line", flag, file)
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
			return t.UTC(), nil
		}
	}
	var days int
	if n, err := fmt.Sscanf(text, "%dd", &days); n == 1 && err == nil && text == fmt.Sprintf("%dd", days) && days >= 0 {
		return now.UTC().AddDate(0, 0, -days).Truncate(24 * time.Hour), nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.UTC().Add(-d).Truncate(time.Hour), nil
	}
	return time.Time{}, usagef("--since: cannot read %q; want a date (2026-01-31), a time (2026-01-31T12:00:00Z) or a span back from now (72h, 30d)", text)
}
