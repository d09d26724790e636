// Package config holds what an operator sets, apart from what a single command is asked to do.
package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/secret"
)

// Defaults.
const (
	DefaultDataDir         = ".haloingest"
	DefaultIntercomVersion = "2.16"
	DefaultConcurrency     = 32
	// DefaultScrollWait is just over the minute after which Intercom gives up an unused scroll.
	DefaultScrollWait = 61 * time.Second
)

const maxConcurrency = 256

// Config is the operator's settings. Its secrets do not print.
type Config struct {
	DatabaseURL          string // empty: a private server in DataDir
	DataDir              string
	MasterKey            secret.MasterKey
	IntercomURL          string // empty: the region's host
	IntercomVersion      string
	MaxRequestsPerMinute int           // 0: as much as Intercom allows
	Concurrency          int           // API requests under way at once; 0 where a command makes none
	ScrollWait           time.Duration // until a company scroll in use is tried again; 0 where a command makes none
	LogLevel             string
	LogFormat            string
}

var versionForm = regexp.MustCompile(`^([0-9]+\.[0-9]+|Unstable|Preview)$`)

// Validate names the setting that cannot be used.
func (c Config) Validate() error {
	if c.DatabaseURL != "" {
		u, err := url.Parse(c.DatabaseURL)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return fmt.Errorf("--database-url: want postgres://user@host/database (its text is not shown, it may hold a password)")
		}
	}
	if info, err := os.Stat(c.DataDir); err == nil && !info.IsDir() {
		return fmt.Errorf("--data-dir %s is a file, not a directory", c.DataDir)
	}
	if err := c.MasterKey.Validate(); err != nil {
		return err
	}
	if err := validAddress(c.IntercomURL); err != nil {
		return err
	}
	if c.IntercomVersion != "" && !versionForm.MatchString(c.IntercomVersion) {
		return fmt.Errorf("--intercom-version %q: want a number such as %s", c.IntercomVersion, DefaultIntercomVersion)
	}
	if c.MaxRequestsPerMinute < 0 {
		return fmt.Errorf("--max-requests-per-minute %d: want 0 or more", c.MaxRequestsPerMinute)
	}
	if c.Concurrency < 0 || c.Concurrency > maxConcurrency {
		return fmt.Errorf("--concurrency %d: want 1 to %d", c.Concurrency, maxConcurrency)
	}
	if c.ScrollWait < 0 {
		return fmt.Errorf("--scroll-wait %s: want 0 or more", c.ScrollWait)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); c.LogLevel != "" && err != nil {
		return fmt.Errorf("--log-level %q: want debug, info, warn or error", c.LogLevel)
	}
	if c.LogFormat != "" && c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("--log-format %q: want text or json", c.LogFormat)
	}
	return nil
}

// validAddress refuses an --intercom-url that can only be a slip before anything is opened; the client
// checks it once more. What it quotes of the address holds no user information and no query.
func validAddress(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("--intercom-url: want https://host, or leave it away to use the region's host")
	}
	host := u.Scheme + "://" + u.Host
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("--intercom-url: want %s alone, without a user, a query or a fragment", host)
	case strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("--intercom-url: want %s alone, without the path %q", host, u.Path)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return fmt.Errorf("--intercom-url: %s would send the token in clear; plain http is for this machine only (127.0.0.1, localhost), use https", host)
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Level is the log level; info where none is set.
func (c Config) Level() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // Validate has seen it
	return level
}
