package main

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/sources/intercom/intercomtest"
)

// crashWorkspace is small enough to be loaded many times and has every kind of object on several pages.
var crashWorkspace = intercomtest.Options{
	Seed: 7, Conversations: 400, Contacts: 330, Companies: 210, Tickets: 170, Oddities: 60,
	ScrollIdle: time.Second, // as if a minute had passed by the time the next attempt asks
}

// unbroken is what one uninterrupted backfill makes of the workspace.
func unbroken(t *testing.T) map[string][]string {
	t.Helper()
	b := newBench(t, crashWorkspace)
	b.connect()
	b.must([]string{"backfill"}, exitDone, exitDiffers)
	rows := b.rows()
	n := b.sim.Ledger().Counts()
	if len(rows["transcripts"]) != n.Conversations || len(rows["tickets"]) != n.Tickets || len(rows["companies"]) != n.Companies {
		t.Fatalf("the unbroken run loaded %d transcripts, %d tickets, %d companies; the workspace has %+v",
			len(rows["transcripts"]), len(rows["tickets"]), len(rows["companies"]), n)
	}
	return rows
}

// finish runs backfill until it is done.
func (b *bench) finish(words ...string) {
	b.tb.Helper()
	cmd := b.process(words...)
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != exitDone && code != exitDiffers {
		b.tb.Fatalf("%v after a crash: %v\n%s", words, err, b.stderr.String())
	}
}

func sameRows(t *testing.T, want, got map[string][]string) {
	t.Helper()
	for table := range want {
		if diff := cmp.Diff(want[table], got[table]); diff != "" {
			t.Errorf("%s differs from an unbroken run (-unbroken +crashed):\n%.4000s", table, diff)
		}
	}
}

// A killed backfill that is given again ends with the rows of an unbroken one (promise 53).
func TestKilledAtRandomTimesEndsLikeAnUnbrokenRun(t *testing.T) {
	want := unbroken(t)
	kills, rounds := 0, 0
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for ; kills < 50; rounds++ {
		if rounds > 40 {
			t.Fatalf("only %d kills in %d rounds", kills, rounds)
		}
		b := newBench(t, crashWorkspace)
		b.connect()
		for range 8 {
			cmd := b.process("backfill", "--scroll-wait", "1s")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(time.Duration(random.Int64N(int64(900*time.Millisecond))), func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			if err == nil {
				break
			}
			if !killed(err) {
				t.Fatalf("backfill: %v\n%s", err, b.stderr.String())
			}
			kills++
		}
		b.finish("backfill", "--scroll-wait", "1s")
		sameRows(t, want, b.rows())
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills in %d rounds", kills, rounds)
}

// Killed once after every page: the process dies at the moment it asks for the next one.
func TestKilledAfterEveryPageEndsLikeAnUnbrokenRun(t *testing.T) {
	want := unbroken(t)
	target := 1
	for ; ; target++ {
		b := newBench(t, crashWorkspace)
		b.connect()
		var pages atomic.Int64
		var victim atomic.Pointer[exec.Cmd]
		upstream, err := url.Parse(b.sim.URL)
		if err != nil {
			t.Fatal(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(upstream)
		proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {} // the client is dead
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isPage(r) && pages.Add(1) == int64(target) {
				if cmd := victim.Load(); cmd != nil {
					_ = cmd.Process.Kill()
				}
			}
			proxy.ServeHTTP(w, r)
		}))
		b.url = front.URL
		cmd := b.process("backfill", "--scroll-wait", "1s")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		victim.Store(cmd)
		err = cmd.Wait()
		if err == nil {
			front.Close()
			break // there are fewer pages than that
		}
		if !killed(err) {
			t.Fatalf("backfill: %v\n%s", err, b.stderr.String())
		}
		b.finish("backfill", "--scroll-wait", "1s")
		front.Close()
		sameRows(t, want, b.rows())
		if t.Failed() {
			t.Fatalf("killed at page %d", target)
		}
	}
	if target < 8 {
		t.Errorf("only %d pages", target-1)
	}
	t.Logf("killed after each of %d pages", target-1)
}

// isPage tells the requests for pages from those for single objects.
func isPage(r *http.Request) bool {
	return slices.Contains([]string{"/contacts", "/companies/scroll", "/conversations/search", "/tickets/search", "/conversations"}, strings.TrimSuffix(r.URL.Path, "/"))
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
