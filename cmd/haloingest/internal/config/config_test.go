package config_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/config"
)

func TestValidateNamesTheFlagAndWhatItMayBe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		set  func(c *config.Config)
		want string // part of the error; "" is none
	}{
		"nothing is set":                        {func(*config.Config) {}, ""},
		"a data directory that is not there":    {func(c *config.Config) { c.DataDir = filepath.Join(file+"s", "new") }, ""},
		"a file as the data directory":          {func(c *config.Config) { c.DataDir = file }, "--data-dir " + file + " is a file"},
		"a database":                            {func(c *config.Config) { c.DatabaseURL = "postgres://u:p@h/db?sslmode=disable" }, ""},
		"the long scheme":                       {func(c *config.Config) { c.DatabaseURL = "postgresql:///db?host=/tmp" }, ""},
		"another kind of database":              {func(c *config.Config) { c.DatabaseURL = "mysql://u:canary@h/db" }, "--database-url: want postgres://"},
		"pairs instead of a database's address": {func(c *config.Config) { c.DatabaseURL = "host=h password=canary" }, "--database-url: want postgres://"},
		"an address that does not parse":        {func(c *config.Config) { c.DatabaseURL = "postgres://u:canary%@h/db" }, "--database-url: want postgres://"},
		"Intercom's own host":                   {func(c *config.Config) { c.IntercomURL = "https://api.intercom.io" }, ""},
		"a slash at its end":                    {func(c *config.Config) { c.IntercomURL = "https://api.intercom.io/" }, ""},
		"loopback in clear":                     {func(c *config.Config) { c.IntercomURL = "http://127.0.0.1:8080" }, ""},
		"loopback of version 6 in clear":        {func(c *config.Config) { c.IntercomURL = "http://[::1]:8080" }, ""},
		"localhost in clear":                    {func(c *config.Config) { c.IntercomURL = "http://LocalHost:8080" }, ""},
		"another host in clear":                 {func(c *config.Config) { c.IntercomURL = "http://10.0.0.1" }, "--intercom-url: http://10.0.0.1 would send the token in clear"},
		"a host that begins like loopback":      {func(c *config.Config) { c.IntercomURL = "http://127.0.0.1.evil.example" }, "would send the token in clear"},
		"a host that ends like localhost":       {func(c *config.Config) { c.IntercomURL = "http://localhost.evil.example" }, "would send the token in clear"},
		"a host behind a user":                  {func(c *config.Config) { c.IntercomURL = "http://127.0.0.1@evil.example" }, "without a user"},
		"a password in the address":             {func(c *config.Config) { c.IntercomURL = "https://u:canary@host" }, "--intercom-url: want https://host alone, without a user"},
		"a query":                               {func(c *config.Config) { c.IntercomURL = "https://host?token=canary" }, "without a user, a query"},
		"a fragment":                            {func(c *config.Config) { c.IntercomURL = "https://host/#canary" }, "or a fragment"},
		"a path":                                {func(c *config.Config) { c.IntercomURL = "https://host/contacts" }, `without the path "/contacts"`},
		"a host without a scheme":               {func(c *config.Config) { c.IntercomURL = "api.intercom.io" }, "--intercom-url: want https://host"},
		"a port without a host":                 {func(c *config.Config) { c.IntercomURL = "https://" }, "--intercom-url: want https://host"},
		"another scheme":                        {func(c *config.Config) { c.IntercomURL = "ftp://host" }, "--intercom-url: want https://host"},
		"a file":                                {func(c *config.Config) { c.IntercomURL = "file:///etc/passwd" }, "--intercom-url: want https://host"},
		"a version":                             {func(c *config.Config) { c.IntercomVersion = "2.17" }, ""},
		"no version":                            {func(c *config.Config) { c.IntercomVersion = "v2" }, `--intercom-version "v2"`},
		"requests below none":                   {func(c *config.Config) { c.MaxRequestsPerMinute = -1 }, "--max-requests-per-minute -1"},
		"more at once than is wise":             {func(c *config.Config) { c.Concurrency = 257 }, "--concurrency 257"},
		"less than none at once":                {func(c *config.Config) { c.Concurrency = -1 }, "--concurrency -1"},
		"a wait into the past":                  {func(c *config.Config) { c.ScrollWait = -time.Second }, "--scroll-wait -1s"},
		"a level":                               {func(c *config.Config) { c.LogLevel = "warn" }, ""},
		"no level":                              {func(c *config.Config) { c.LogLevel = "loud" }, `--log-level "loud"`},
		"no format":                             {func(c *config.Config) { c.LogFormat = "xml" }, `--log-format "xml"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c config.Config
			tt.set(&c)
			err := c.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "canary"):
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestLevelIsInfoUnlessItIsSet(t *testing.T) {
	t.Parallel()
	if l := (config.Config{}).Level(); l != slog.LevelInfo {
		t.Errorf("got %v", l)
	}
	if l := (config.Config{LogLevel: "debug"}).Level(); l != slog.LevelDebug {
		t.Errorf("got %v", l)
	}
}

// No address gets past Validate that would send a token in clear to another machine.
func FuzzIntercomURL(f *testing.F) {
	for _, seed := range []string{"https://api.intercom.io", "http://127.0.0.1:80", "http://[::1]", "http://a@b", "http://localhost", "//x", "https://h/p?q#f", "http://[::ffff:10.0.0.1]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		c := config.Config{IntercomURL: address}
		if c.Validate() != nil || address == "" {
			return
		}
		lower := strings.ToLower(address)
		if strings.HasPrefix(lower, "https://") {
			return
		}
		rest, ok := strings.CutPrefix(lower, "http://")
		if !ok {
			t.Fatalf("%q is taken", address)
		}
		host, _, _ := strings.Cut(strings.TrimRight(rest, "/"), "/")
		if !strings.HasPrefix(host, "127.") && !strings.HasPrefix(host, "localhost") && !strings.HasPrefix(host, "[") {
			t.Fatalf("%q is taken for this machine", address)
		}
	})
}
