package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/sources/intercom/intercomtest"
)

// demoOrg is the organisation of the tour.
const demoOrg = "0d3b0000-0000-4000-8000-00000000de50"

func (a *app) demo() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "the whole tour on this machine: a simulated Intercom workspace, a private PostgreSQL, and the commands on them",
		Flags: concat([]cli.Flag{
			&cli.IntFlag{Name: "conversations", Usage: "simulate a workspace of `N` conversations", Value: 2000},
			&cli.IntFlag{Name: "rate-limit", Usage: "let it allow `N` requests a minute, as Intercom does (0: any number)", Value: 10_000},
			&cli.DurationFlag{Name: "latency", Usage: "let each of its replies take `SPAN`", Value: 20 * time.Millisecond},
		}, storeFlags(), outputFlags()),
		Action: a.takeTour,
	}
}

// tour runs the program's own commands, as a person would type them.
type tour struct {
	*app
	dir  string // where the demo's files are
	url  string // of the simulated workspace
	args []string
}

func (a *app) takeTour(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	if c.Int("conversations") < 1 || c.Int("rate-limit") < 0 || c.Duration("latency") < 0 {
		return usagef("--conversations wants 1 or more, --rate-limit and --latency 0 or more")
	}
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	dir := filepath.Join(cfg.DataDir, "demo")
	if err := os.RemoveAll(filepath.Join(dir, "token")); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	workspace, stop, err := simulate(intercomtest.Options{
		Conversations: c.Int("conversations"),
		RateLimit:     c.Int("rate-limit"),
		Latency:       c.Duration("latency"),
	})
	if err != nil {
		return fmt.Errorf("start the simulated workspace: %w", err)
	}
	defer stop()
	t := &tour{app: a, dir: dir, url: workspace.Options().BaseURL}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(workspace.Options().Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("prepare the demo: %w", err)
	}
	t.args = []string{"--data-dir", dir}
	if cfg.DatabaseURL != "" {
		t.args = append(t.args, "--database-url", cfg.DatabaseURL)
	}
	return t.walk(workspace, token)
}

// simulate serves a workspace on loopback until stop is called.
func simulate(o intercomtest.Options) (*intercomtest.Workspace, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	o.BaseURL = "http://" + l.Addr().String()
	w, err := intercomtest.New(o)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	server := intercomtest.NewHTTPServer(w)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return w, func() {
		if err := server.Close(); err == nil || errors.Is(err, http.ErrServerClosed) {
			<-done
		}
	}, nil
}

func (t *tour) walk(workspace *intercomtest.Workspace, token string) error {
	n := workspace.Ledger().Counts()
	t.say("A simulated Intercom workspace is up at %s: %s contacts, %s companies, %s conversations, %s tickets.",
		t.url, count(n.Contacts), count(n.Companies), count(n.Conversations), count(n.Tickets))
	t.say("The database is a private PostgreSQL; everything of this tour is in %s.", t.dir)

	org := []string{"--org", demoOrg}
	api := []string{"--intercom-url", t.url}
	steps := []struct {
		title string
		args  []string
		codes []int // exit codes that are fine here
		run   func() error
	}{
		{title: "Connect. The token is checked and stored sealed.",
			args: concat2([]string{"connect"}, org, []string{"--region", "us", "--token-file", token, "--no-backfill"}, api)},
		{title: "Plan: what would a backfill take?", args: concat2([]string{"plan"}, org, api)},
		{title: "Backfill: companies, contacts, conversations with all their parts, tickets.", args: concat2([]string{"backfill"}, org, api), codes: []int{exitDiffers}},
		{title: "Again: nothing has changed, so nothing is written.", args: concat2([]string{"backfill"}, org, api), codes: []int{exitDiffers}},
		{title: "The workspace changes: 25 conversations are touched, 5 are deleted.", run: func() error {
			workspace.TouchRandom(intercomtest.Conversations, 25)
			workspace.DeleteRandom(intercomtest.Conversations, 5)
			return nil
		}},
		{title: "Sync reads just that.", args: concat2([]string{"sync"}, org, api), codes: []int{exitDiffers}},
		{title: "Where things stand.", args: concat2([]string{"status"}, org)},
		{title: "What could not be loaded is kept, with the object as it came.", args: concat2([]string{"rejects", "ls"}, org)},
	}
	for i, step := range steps {
		fmt.Fprintf(t.stdout, "\n%d. %s\n", i+1, step.title)
		if step.run != nil {
			if err := step.run(); err != nil {
				return fmt.Errorf("demo, step %d: %w", i+1, err)
			}
			continue
		}
		if code := t.command(step.args); code != exitDone && !contains(step.codes, code) {
			return &exitError{code, fmt.Errorf("demo, step %d: the command ended with code %d", i+1, code)}
		}
	}
	t.say("\nThat was the tour. Try it with other sizes (--conversations), or look around:\n  haloingest runs show --org %s --data-dir %s", demoOrg, t.dir)
	return nil
}

// command shows a command line and runs it.
func (t *tour) command(args []string) int {
	args = append(args, t.args...)
	fmt.Fprintf(t.stdout, "   $ haloingest %s\n\n", strings.Join(args, " "))
	var out bytes.Buffer
	code := run(t.hard, t.read, args, t.stdin, &out, t.stderr)
	indent(t.stdout, out.String())
	return code
}

func (t *tour) say(format string, args ...any) { fmt.Fprintf(t.stdout, format+"\n", args...) }

func indent(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprint(w, "   "+line)
	}
}

func concat2(groups ...[]string) []string {
	var all []string
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

func contains(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}
