package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom/intercomtest"
)

func TestALineOfTheLogIsPlainInBothFormats(t *testing.T) {
	org, err := record.ParseUUID("6f1b2a34-5c6d-4e7f-8a9b-0c1d2e3f4a5b")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("somewhere", 3600))
	attrs := []any{"org", org, "pause", 90 * time.Second, "at", at, "error", errors.New("no way"), "n", 3, "ok", true,
		"secret", secret.NewText("quite secret")}
	want := map[string]any{
		"level": "INFO", "msg": "a sentence", "org": org.String(), "pause": "1m30s", "at": "2026-03-01T11:00:00.000Z", "error": "no way",
		"n": float64(3), "ok": true, "secret": "[secret]",
	}
	var out bytes.Buffer
	newLog(&out, "json", slog.LevelInfo).Info("a sentence", attrs...)
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	when, err := time.Parse(time.RFC3339, got["time"].(string))
	if err != nil || !strings.HasSuffix(got["time"].(string), "Z") || time.Since(when).Abs() > time.Hour {
		t.Errorf("time %v: want now, as RFC 3339 in UTC (%v)", got["time"], err)
	}
	delete(got, "time")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the line (-want +got):\n%s", diff)
	}
	out.Reset()
	newLog(&out, "text", slog.LevelInfo).Info("a sentence", attrs...)
	for _, part := range []string{"org=" + org.String(), "pause=1m30s", "at=2026-03-01T11:00:00.000Z", `error="no way"`, "secret=[secret]"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is not in %s", part, out.String())
		}
	}
}

func TestWhatLooksLikeASecretIsLeftOutOfTheLog(t *testing.T) {
	for text, want := range map[string]string{
		"cannot connect to postgres://halo:hunter2@db.example:5432/halo?sslmode=require": "cannot connect to postgres://halo:[secret]@db.example:5432/halo?sslmode=require",
		"see https://example.com/a@b and https://x:y@z/":                                 "see https://example.com/a@b and https://x:[secret]@z/",
		"sent Authorization: Bearer abcdefgh12345678 to it":                              "sent Authorization: Bearer [secret] to it",
		"the token dG9rOmNhbmFyeS1hY2Nlc3MtdG9rZW4tOTk5 was refused":                     "the token [secret] was refused",
		"basic facts, bearer of news, nothing else":                                      "basic facts, bearer of news, nothing else",
		"a link https://example.com:8443/x of anna@example.com":                          "a link https://example.com:8443/x of anna@example.com",
	} {
		var out bytes.Buffer
		log := newLog(&out, "json", slog.LevelInfo)
		log.Info(text, "s", text, "e", fmt.Errorf("wrapped: %w", errors.New(text)))
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		delete(got, "time")
		if diff := cmp.Diff(map[string]any{"level": "INFO", "msg": want, "s": want, "e": "wrapped: " + want}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestWithJSONLogsEveryLineOfEveryCommandIsJSON(t *testing.T) {
	b := newBench(t, intercomtest.Options{Conversations: 12, Contacts: 6, Companies: 2, Tickets: 2})
	b.connect()
	if err := b.sim.SetFaults(intercomtest.Fault{Kind: intercomtest.FaultScopeLost, Scope: intercomtest.ScopeTickets}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		code int
		args []string
		runs bool // lines of a run are among them
	}{
		{exitIncomplete, []string{"backfill", "--log-format=json", "--log-level", "debug"}, true},
		{exitDone, []string{"status", "--log-format", "json"}, false},
		{exitUsage, []string{"status", "--no-such-flag", "--log-format", "json"}, false},
		{exitUsage, []string{"runs", "show", "nothing", "--log-format", "json"}, false},
	} {
		code, _, stderr := b.run(tt.args...)
		if code != tt.code {
			t.Fatalf("%v: code %d, want %d\n%s", tt.args, code, tt.code, stderr)
		}
		ofRuns := 0
		for _, line := range strings.Split(strings.TrimSpace(stderr), "\n") {
			if line == "" {
				continue
			}
			var l struct {
				Time  time.Time `json:"time"`
				Level string    `json:"level"`
				Msg   string    `json:"msg"`
				Org   string    `json:"org"`
				Run   string    `json:"run"`
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil || l.Time.IsZero() || l.Level == "" || l.Msg == "" {
				t.Errorf("%v: a line is not JSON with time, level and msg (%v): %s", tt.args, err, line)
			}
			if strings.Count(line, `"org":`) > 1 || strings.Count(line, `"run":`) > 1 {
				t.Errorf("%v: a line says twice what it is about: %s", tt.args, line)
			}
			if l.Run != "" {
				ofRuns++
				if l.Org != testOrg {
					t.Errorf("%v: a line names its run and not its organisation: %s", tt.args, line)
				}
			}
		}
		if (ofRuns > 0) != tt.runs {
			t.Errorf("%v: %d lines of a run, want some: %v\n%s", tt.args, ofRuns, tt.runs, stderr)
		}
	}
}
