package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// quick makes leases quick enough for tests. All that use one database must agree on it.
var quick = timing{ttl: 1500 * time.Millisecond, beat: 200 * time.Millisecond, answer: 5 * time.Second,
	patience: 300 * time.Millisecond, lockWait: 500 * time.Millisecond}

func quickDB(tb testing.TB, url string) *DB {
	tb.Helper()
	db := openURL(tb, url)
	db.timing = quick
	if _, err := db.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return db
}

func TestASecondHolderIsToldWhoHolds(t *testing.T) {
	url := pgtest.New(t)
	first, second := quickDB(t, url), quickDB(t, url)
	lease, err := first.Acquire(t.Context(), orgA, "backfill on host-1\x00 (pid 12)")
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Acquire(t.Context(), orgA, "sync")
	var held *HeldError
	if !errors.Is(err, ErrHeld) || !errors.As(err, &held) {
		t.Fatalf("got %v", err)
	}
	if errors.Is(err, ErrDatabase) {
		t.Error("a held lease is no failure of the database")
	}
	if held.Org != orgA || held.Holder != "backfill on host-1 (pid 12)" || held.HeartbeatAge > quick.ttl || time.Since(held.Since).Abs() > time.Minute {
		t.Errorf("got %+v", held)
	}
	other, err := second.Acquire(t.Context(), record.UUID{0xbb}, "sync")
	if err != nil {
		t.Errorf("another organisation: %v", err)
	} else if err := other.Release(t.Context()); err != nil {
		t.Error(err)
	}

	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if lease.Lost().Err() == nil {
		t.Error("a released lease is not lost")
	}
	if _, err := first.StartRun(t.Context(), lease, RunSpec{Kind: "sync"}); !errors.Is(err, ErrFenced) {
		t.Errorf("a run under a lease that nobody holds: %v", err)
	}
	next, err := second.Acquire(t.Context(), orgA, "sync")
	if err != nil {
		t.Fatal(err)
	}
	defer next.Release(t.Context())
	if next.Epoch() != lease.Epoch()+1 {
		t.Errorf("epoch %d follows %d", next.Epoch(), lease.Epoch())
	}
	if _, err := first.StartRun(t.Context(), lease, RunSpec{Kind: "sync"}); !errors.Is(err, ErrFenced) {
		t.Errorf("a run under the released lease: %v", err)
	}
}

func TestOfManyThatAcquireAtOnceOneHolds(t *testing.T) {
	url := pgtest.New(t)
	var mu sync.Mutex
	var group sync.WaitGroup
	held, refused := 0, 0
	for range 8 {
		db := quickDB(t, url)
		group.Go(func() {
			lease, err := db.Acquire(t.Context(), orgA, "one of many")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				held++
				t.Cleanup(func() { _ = lease.Release(context.Background()) })
			case errors.Is(err, ErrHeld):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if held != 1 || refused != 7 {
		t.Errorf("%d hold, %d were refused", held, refused)
	}
}

// A holder whose connection is cut goes on, on a new one, unless somebody was quicker.
func TestALeaseOutlivesItsConnection(t *testing.T) {
	url := pgtest.New(t)
	db := quickDB(t, url)
	lease := acquire(t, db, orgA)
	for range 3 {
		execute(t, db, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
		before := one[time.Time](t, db, "SELECT heartbeat_at FROM ingest.leases")
		eventually(t, "it beats again, and has its lock", func() bool {
			return one[time.Time](t, db, "SELECT heartbeat_at FROM ingest.leases").After(before.Add(quick.beat)) &&
				one[int](t, db, `SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'
					AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) == 1
		})
	}
	if lease.Lost().Err() != nil {
		t.Errorf("lost: %v", context.Cause(lease.Lost()))
	}
	startRun(t, lease, RunSpec{Kind: "sync"})
	if _, err := quickDB(t, url).Acquire(t.Context(), orgA, "other"); !errors.Is(err, ErrHeld) {
		t.Errorf("another one: %v", err)
	}
}

func TestALeaseIsLostWhenTheServerIsGoneForTooLong(t *testing.T) {
	proxy := newProxy(t, pgtest.New(t))
	db := quickDB(t, proxy.url)
	lease := acquire(t, db, orgA)
	ctx, cancel := lease.Bind(t.Context())
	defer cancel()
	proxy.cut()
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, ErrDatabase) {
		t.Errorf("the cause is %v", cause)
	}
}

// eventually waits for a condition that is bound to come true; the test's own deadline is the limit.
func eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	for start := time.Now(); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			tb.Fatalf("waited for a minute: %s", what)
		}
	}
}

// holder is another process: this test binary, running TestHolderProcess. It does as it is told, line by line.
type holder struct {
	tb  testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

const envHolder = "HALOINGEST_TEST_HOLDER"

func newHolder(tb testing.TB, url string) *holder {
	tb.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHolderProcess$", "-test.v")
	cmd.Env = append(os.Environ(), envHolder+"="+url)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	h := &holder{tb: tb, cmd: cmd, in: in, out: bufio.NewReader(out)}
	tb.Cleanup(func() { h.signal(syscall.SIGKILL); _ = cmd.Wait() })
	return h
}

func (h *holder) signal(s syscall.Signal) { _ = h.cmd.Process.Signal(s) }

func (h *holder) send(line string) {
	h.tb.Helper()
	if _, err := io.WriteString(h.in, line+"\n"); err != nil {
		h.tb.Fatal(err)
	}
}

func (h *holder) answer() string {
	h.tb.Helper()
	for {
		line, err := h.out.ReadString('\n')
		if err != nil {
			h.tb.Fatalf("the other process: %v", err)
		}
		if text, ok := strings.CutPrefix(line, "> "); ok {
			return strings.TrimSpace(text)
		}
	}
}

func (h *holder) ask(line, want string) {
	h.tb.Helper()
	h.send(line)
	if got := h.answer(); got != want {
		h.tb.Fatalf("%s: the other process says %q, want %q", line, got, want)
	}
}

// TestHolderProcess is the other process; it does nothing in an ordinary run.
func TestHolderProcess(t *testing.T) {
	url := os.Getenv(envHolder)
	if url == "" {
		return
	}
	db := quickDB(t, url)
	var lease *Lease
	var run *Run
	var tx pgx.Tx
	var next uint64
	ctx := t.Context()
	say := func(err error) {
		switch {
		case err == nil:
			fmt.Println("> ok")
		case errors.Is(err, ErrFenced):
			fmt.Println("> fenced")
		case errors.Is(err, ErrDatabase) || Transient(err):
			fmt.Println("> database")
		default:
			fmt.Println("> " + err.Error())
		}
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var err error
		switch lines.Text() {
		case "acquire":
			lease, err = db.Acquire(ctx, orgA, "another process")
		case "start":
			if run, err = db.StartRun(ctx, lease, RunSpec{Kind: "backfill"}); err == nil {
				var c Checkpoint
				c, err = run.Checkpoint(ctx, "contacts")
				next = c.Seq + 1
			}
		case "begin":
			if tx, err = db.pool.Begin(ctx); err == nil {
				_, err = run.advance(ctx, tx, "contacts", step{Seq: next, Cursor: pipeline.Cursor("theirs"), Counts: pipeline.Counts{"theirs": 1}})
			}
		case "commit":
			if err = tx.Commit(ctx); err == nil {
				next++
			}
		case "rollback":
			rollback(ctx, tx)
		case "lost":
			<-lease.Lost().Done()
			err = context.Cause(lease.Lost())
		case "complete":
			err = run.CompleteStream(ctx, "contacts")
		case "checkpoint":
			_, err = run.Checkpoint(ctx, "tickets")
		case "finish":
			err = run.Finish(ctx, Outcome{State: RunComplete})
		case "restart":
			_, err = db.StartRun(ctx, lease, RunSpec{Kind: "backfill", Restart: true})
		}
		say(err)
	}
}

func TestAHolderThatIsKilledIsReplacedAtOnce(t *testing.T) {
	url := pgtest.New(t)
	db := quickDB(t, url)
	db.timing.patience = time.Minute // the server notices the death when it does
	db.timing.ttl = time.Hour        // so it is the lock that was freed
	for round := range 3 {
		h := newHolder(t, url)
		h.ask("acquire", "ok")
		h.ask("start", "ok")
		h.ask("begin", "ok")
		h.ask("commit", "ok")
		if round > 0 {
			h.ask("begin", "ok") // and die in mid-transaction
		}
		h.signal(syscall.SIGKILL)
		lease, err := db.Acquire(t.Context(), orgA, "next")
		if err != nil {
			t.Fatal(err)
		}
		if got := one[string](t, db, "SELECT state || ': ' || error FROM ingest.runs"); got != "interrupted: "+processGone {
			t.Errorf("the run of the killed process is %q", got)
		}
		run := startRun(t, lease, RunSpec{Kind: "backfill"})
		c, err := run.Checkpoint(t.Context(), "contacts")
		if err != nil || c.Seq != uint64(round+1) || c.Counts["theirs"] != int64(round+1) || !run.Resumed || run.Attempts != 2*(round+1) {
			t.Errorf("round %d: %+v, attempts %d, %v", round, c, run.Attempts, err)
		}
		if err := lease.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestAFrozenHolderIsReplacedAndFenced(t *testing.T) {
	for _, test := range []struct {
		name    string
		before  []string // what the holder does before it freezes
		seq     uint64   // what it has committed by then
		after   []string // what it tries when it wakes
		answers []string
	}{
		{"between batches", []string{"acquire", "start", "begin", "commit"}, 1, []string{"begin", "lost"}, []string{"fenced", "fenced"}},
		{"in mid-transaction", []string{"acquire", "start", "begin"}, 0, []string{"commit", "lost"}, []string{"database", "fenced"}},
		{"before its first batch", []string{"acquire", "start"}, 0,
			[]string{"begin", "rollback", "complete", "checkpoint", "finish", "restart", "lost"},
			[]string{"fenced", "ok", "fenced", "fenced", "fenced", "fenced", "fenced"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			db := quickDB(t, url)
			h := newHolder(t, url)
			for _, line := range test.before {
				h.ask(line, "ok")
			}
			h.signal(syscall.SIGSTOP)

			var lease *Lease
			eventually(t, "the frozen holder is replaced", func() bool {
				var err error
				lease, err = db.Acquire(t.Context(), orgA, "next")
				if err != nil && !errors.Is(err, ErrHeld) {
					t.Fatal(err)
				}
				return err == nil
			})
			defer lease.Release(t.Context())
			run := startRun(t, lease, RunSpec{Kind: "backfill"})
			c, err := run.Checkpoint(t.Context(), "contacts")
			if err != nil || c.Seq != test.seq {
				t.Fatalf("%+v, %v, want seq %d", c, err, test.seq)
			}

			h.signal(syscall.SIGCONT)
			for i, line := range test.after {
				h.ask(line, test.answers[i])
			}
			if done, err := commitStep(t, run, "contacts", step{Seq: test.seq + 1, Cursor: pipeline.Cursor("ours"), Counts: pipeline.Counts{"ours": 1}}); done || err != nil {
				t.Fatalf("the new holder's batch: %v, %v", done, err)
			}
			got := one[string](t, db, "SELECT concat_ws(' ', convert_from(cursor, 'UTF8'), seq, counts->'ours', coalesce(counts->'theirs', '0')) FROM ingest.checkpoints")
			if want := fmt.Sprint("ours ", test.seq+1, " 1 ", test.seq); got != want {
				t.Errorf("the checkpoint is %q, want %q", got, want)
			}
			if lease.Lost().Err() != nil {
				t.Errorf("the new holder has lost its lease: %v", context.Cause(lease.Lost()))
			}
			if n := one[int](t, db, "SELECT count(*)::int FROM ingest.runs WHERE state = 'running'"); n != 1 {
				t.Errorf("%d runs are running", n)
			}
		})
	}
}

// The next holder may have other things to do than to resume what the last one did: that is fenced all the same.
func TestANewHolderFencesWhatItDoesNotResume(t *testing.T) {
	url := pgtest.New(t)
	first, second := quickDB(t, url), quickDB(t, url)
	first.timing.beat = time.Hour // so it does not notice
	lease := acquire(t, first, orgA)
	run := startRun(t, lease, RunSpec{Kind: "backfill"})
	if _, err := run.Checkpoint(t.Context(), "contacts"); err != nil {
		t.Fatal(err)
	}
	execute(t, second, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	second.timing.patience = time.Minute
	next := acquire(t, second, orgA)
	startRun(t, next, RunSpec{Kind: "sync"})
	if _, err := commitStep(t, run, "contacts", step{Seq: 1}); !errors.Is(err, ErrFenced) {
		t.Errorf("the first holder's batch: %v", err)
	}
	if err := lease.Release(t.Context()); err == nil {
		t.Error("the first holder was told nothing when it released what it had lost")
	}
	if err := startRun(t, next, RunSpec{Kind: "sync"}).Finish(t.Context(), Outcome{State: RunComplete}); err != nil {
		t.Errorf("the second holder: %v", err)
	}
}

// commitStep commits one batch that holds nothing.
func commitStep(tb testing.TB, r *Run, stream string, s step) (done bool, err error) {
	tb.Helper()
	err = r.lease.db.inTx(tb.Context(), func(tx pgx.Tx) error {
		done, err = r.advance(tb.Context(), tx, stream, s)
		return err
	})
	return done, err
}
