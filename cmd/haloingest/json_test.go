package main

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
)

// Every command prints exactly one JSON value with --json, whether it does what it was asked for or not.
func TestEveryCommandAnswersWithOneJSONValue(t *testing.T) {
	t.Parallel()
	b := newBench(t, intercomtest.Options{Conversations: 20, Oddities: -1})
	b.must([]string{"connect", "--region", "us", "--token-file", b.token})
	kept := t.TempDir()
	b.must([]string{"backfill", "--snapshot", kept})
	number := func() string { return "1" }
	good := map[string][]string{ // in the order of the map's sorted keys; disconnect is kept for the end
		"connect":          {"--region", "us", "--token-file", b.token, "--no-backfill"},
		"demo":             {"--conversations", "10", "--latency", "0s"},
		"diff":             {"intercom", "postgres"},
		"rejects show":     {number()},
		"rejects retry":    nil,
		"knowledge embed":  {"--embedding-model", "e", "--model-url", "http://127.0.0.1:1/v1"},
		"knowledge search": {"invoice"},
		"knowledge show":   {"12"},
		"rules add":        {"--keyword", "zebra"},
		"rules rm":         {"--keyword", "zebra"},
		"runs show":        nil,
		"runs undo":        {"--dry-run", "12345678-0000-4000-8000-000000000001"},
		"migrate status":   nil,
		"replay":           {"--snapshot", kept},
		"serve":            {"--listen", "127.0.0.1:0"},
		"snapshot ls":      {"--snapshot", kept},
		"snapshot verify":  {"--snapshot", kept},
		"users add":        {"ann"},
		"users disable":    {"ann"},
		"users enable":     {"ann"},
		"users overseer":   {"ann"},
		"users password":   {"ann"},
		"users role":       {"ann", "viewer"},
		"users token":      {"ann"},
		"keys enable":      {"1"},
	}
	names := slices.Sorted(maps.Keys(leaves()))
	// snapshot export writes a stream, and has no result.
	names = append(slices.DeleteFunc(names, func(n string) bool { return n == "disconnect" || n == "snapshot export" }), "disconnect")
	run := func(t *testing.T, args []string) (int, string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		// serve is asked to stop as soon as it has said where it listens.
		read, stop := context.WithCancelCause(context.Background())
		defer stop(nil)
		code := run(context.Background(), read, args, strings.NewReader(""), &heard{&out, func() {
			if args[0] == "serve" {
				stop(errInterrupted)
			}
		}}, &errs)
		return code, out.String(), errs.String()
	}
	for _, name := range names {
		database := b.dbURL
		if name == "demo" {
			database = pgtest.New(t) // with a master key of its own
		}
		args := append(append(strings.Fields(name), good[name]...), "--json", "--data-dir", b.dir)
		if hasFlag(name, "database-url") {
			args = append(args, "--database-url", database)
		}
		if leaves()[name].Flags != nil && hasFlag(name, "org") {
			args = append(args, "--org", testOrg)
		}
		if hasFlag(name, "intercom-url") {
			args = append(args, "--intercom-url", b.url)
		}
		for what, try := range map[string]struct {
			args []string
			code int
		}{
			"done":                            {args, exitDone},
			"a flag that there is not":        {append(slices.Clone(args), "--colour"), exitUsage},
			"a log level that there is not":   {append(slices.Clone(args), "--log-level", "loud"), exitUsage},
			"a database that does not answer": {append(slices.Clone(args), "--database-url", "postgres://u:canary@127.0.0.1:1/db"), exitDatabase},
			"an address of no database":       {append(slices.Clone(args), "--database-url", "mysql://u:canary@127.0.0.1:1/db"), exitUsage},
		} {
			if (name == "rejects show" || name == "knowledge show" || name == "runs undo" || name == "keys enable") && what == "done" {
				try.code = exitUsage // there is none
			}
			if name == "cutover" && what == "done" {
				try.code = exitDiffers // nothing was compared yet
			}
			if name == "knowledge embed" && what == "done" {
				try.code = exitIncomplete // nothing listens there
			}
			if name == "disconnect" && what == "done" {
				continue // below, when nothing needs the connection any more
			}
			if strings.HasPrefix(what, "a database") && name == "demo" {
				continue // it says so for its first command
			}
			if strings.Contains(what, "database") && !hasFlag(name, "database-url") {
				continue
			}
			code, stdout, stderr := run(t, try.args)
			if code != try.code {
				t.Errorf("%s, %s: code %d, want %d\n%s", name, what, code, try.code, stderr)
			}
			if strings.Contains(stdout+stderr, "canary") {
				t.Errorf("%s, %s: it shows the password", name, what)
			}
			if err := manners(try.args, code, stdout, stderr); err != nil {
				t.Errorf("%s, %s: %v\n%s", name, what, err, stdout)
			}
		}
	}
	if code, stdout, _ := run(t, b.args("disconnect", "--json")); code != exitDone || manners([]string{"--json"}, code, stdout, "") != nil {
		t.Errorf("disconnect: code %d\n%s", code, stdout)
	}
}

func hasFlag(command, name string) bool {
	for _, flag := range leaves()[command].Flags {
		if flag.Names()[0] == name {
			return true
		}
	}
	return false
}

// heard calls then after each write.
type heard struct {
	io.Writer
	then func()
}

func (h *heard) Write(p []byte) (int, error) {
	defer h.then()
	return h.Writer.Write(p)
}
