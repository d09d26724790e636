package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"haloingest/sources/intercom/intercomtest"
)

// terminal opens a pseudo-terminal: what is written to tty can be read from screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 160}); err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`)

// On a terminal a run draws how far it is: per stream, per stage, and the share of the budget. The result
// is on stdout as ever.
func TestATerminalShowsHowFarARunIs(t *testing.T) {
	t.Parallel()
	b := newBench(t, intercomtest.Options{
		Conversations: 400, Oddities: -1, RateLimit: 600_000,
		Faults: []intercomtest.Fault{{Kind: intercomtest.FaultSlow, Path: "GET /conversations/*", For: 40_000_000}},
	})
	b.connect()
	screen, tty := terminal(t)
	cmd := b.process("backfill", "--json", "--concurrency", "8")
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	drawn, _ := io.ReadAll(screen) // ends with an error when the terminal is closed
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, drawn)
	}
	text := escapes.ReplaceAllString(string(drawn), "")
	for _, want := range []string{"companies", "conversations", "tickets", "waiting", "/s", "details", "load", "API: ", " requests, ", " % of the budget"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing on the screen says %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%.3000s", text)
	}
	if err := manners([]string{"--json"}, 0, stdout.String(), ""); err != nil {
		t.Error(err)
	}
	if strings.Contains(text, "panic") || strings.Contains(text, b.sim.Token) {
		t.Errorf("the screen shows what it must not:\n%s", text)
	}
}
