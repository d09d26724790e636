package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"haloingest/cmd/haloingest/internal/config"
)

// logger writes log lines to stderr.
func (a *app) logger(cfg config.Config) *slog.Logger {
	return newLog(a.stderr, cfg.LogFormat, cfg.Level())
}

// newLog returns a logger that writes lines as text or json. Times are RFC 3339 in UTC, durations are written as people do (1m30s), and what
// looks like a secret is left out, wherever it stands.
func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: plainly}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// logTime is RFC 3339 with milliseconds.
const logTime = "2006-01-02T15:04:05.000Z07:00"

func plainly(_ []string, a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindTime:
		return slog.String(a.Key, v.Time().UTC().Format(logTime))
	case slog.KindDuration:
		return slog.String(a.Key, v.Duration().String())
	case slog.KindString:
		return slog.String(a.Key, redacted(v.String()))
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error:
			return slog.String(a.Key, redacted(x.Error()))
		case fmt.Formatter: // a secret.Text, which shows nothing of itself
		case fmt.Stringer:
			return slog.String(a.Key, redacted(x.String()))
		}
	}
	return a
}

// What looks like a secret. Nothing puts one into a line on purpose; this is for texts that come from elsewhere.
var (
	passwordForm = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*):[^\s@]*@`)
	bearerForm   = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
	tokenForm    = regexp.MustCompile(`\bdG9rO[A-Za-z0-9+/=_-]{12,}`) // Intercom's tokens are base64 of "tok:..."
)

func redacted(text string) string {
	if strings.Contains(text, "://") && strings.Contains(text, "@") {
		text = passwordForm.ReplaceAllString(text, "$1:[secret]@")
	}
	if strings.Contains(text, "earer ") || strings.Contains(text, "asic ") || strings.Contains(text, "EARER ") || strings.Contains(text, "ASIC ") {
		text = bearerForm.ReplaceAllString(text, "$1 [secret]")
	}
	if strings.Contains(text, "dG9rO") {
		text = tokenForm.ReplaceAllString(text, "[secret]")
	}
	return text
}

// wantsJSONLogs looks for --log-format json before anything is parsed, so that a command line that does not parse is told in JSON as well.
func wantsJSONLogs(args []string) bool {
	format := os.Getenv(envName("log-format"))
	for i, arg := range args {
		if arg == "--" {
			break
		}
		name, value, set := strings.Cut(arg, "=")
		if name != "--log-format" && name != "-log-format" {
			continue
		}
		if !set && i+1 < len(args) {
			value = args[i+1]
		}
		format = value
	}
	return format == "json"
}

// say writes a sentence for people to stderr, as a line of the log where that is JSON.
func say(w io.Writer, asJSON bool, level slog.Level, text string, attrs ...any) {
	if asJSON {
		newLog(w, "json", level).Log(context.Background(), level, text, attrs...)
		return
	}
	fmt.Fprintln(w, text)
}
