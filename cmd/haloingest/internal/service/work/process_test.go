package work

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// asWorker makes the test binary a process that works on the queue and can be killed: a child, as JSON.
const asWorker = "HALOINGEST_TEST_AS_WORKER"

type child struct {
	Database, Keys string
	Sims           map[string]string // address by token
	Log            bool
	Backfills      int
	SliceMS        int
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(asWorker); spec != "" {
		if err := beWorker([]byte(spec)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "5") // they wait more than they compute
	os.Exit(m.Run())
}

func beWorker(spec []byte) error {
	var c child
	if err := json.Unmarshal(spec, &c); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if c.Log {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("pid", os.Getpid())
	}
	o := Options{
		Connections: nil, Log: log, Concurrency: 4, SyncEvery: 1000 * time.Hour, WalkEvery: 100000 * time.Hour, Backfills: c.Backfills, Syncs: 2, Drains: 2,
		Slice: time.Duration(c.SliceMS) * time.Millisecond,
		Client: func(_ string, token secret.Text) (*intercom.Client, error) {
			return intercom.New("us", token.Reveal(), intercom.Options{BaseURL: c.Sims[token.Reveal()], ScrollWait: time.Second})
		},
	}
	db, err := postgres.Open(context.Background(), c.Database, postgres.Options{MaxConns: o.Conns(), Logger: log})
	if err != nil {
		return err
	}
	defer db.Close()
	o.DB, o.Connections = db, connection.NewStore(db.Pool(), secret.MasterKey{DataDir: c.Keys})
	w, err := New(o)
	if err != nil {
		return err
	}
	read, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("ready")
	return w.Run(context.Background(), read)
}

// process starts a worker process. It is killed when the test ends.
func (p *place) process(c child) *exec.Cmd {
	p.tb.Helper()
	c.Database, c.Keys, c.Sims, c.Log = p.url, p.master.DataDir, make(map[string]string), os.Getenv("HALOINGEST_TEST_LOG") != ""
	for org, sim := range p.sims {
		c.Sims[tokenOf(org)] = sim.URL
	}
	spec, err := json.Marshal(c)
	p.must(err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asWorker+"="+string(spec))
	cmd.Stderr = p.tb.Output()
	out, err := cmd.StdoutPipe()
	p.must(err)
	p.must(cmd.Start())
	p.tb.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // over already, mostly
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		p.tb.Fatalf("a worker process did not begin: %q, %v", line, err)
	}
	return cmd
}

// slow is a workspace whose backfill takes some seconds.
func slow(o intercomtest.Options, latency time.Duration) intercomtest.Options {
	o.Latency = latency
	return o
}

func TestTheJobsOfAKilledProcessAreTakenOver(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	first := p.process(child{})
	// In the middle of the conversations, so that something is committed and something is not.
	p.eventually("half of the backfill", func() bool { return sim.Stats().Endpoints["GET /conversations/{id}"] > 100 })
	before := scalar[int64](p, `SELECT id FROM ingest.river_job WHERE state = 'running'`)
	killed := time.Now()
	p.must(first.Process.Kill())
	_ = first.Wait() // killed
	p.process(child{})
	p.eventually("the takeover", func() bool {
		return scalar[bool](p, `SELECT EXISTS (SELECT FROM ingest.river_job WHERE kind = 'backfill' AND id <> $1 AND (state = 'running' OR state = 'completed'))`, before)
	})
	took := time.Since(killed)
	t.Logf("taken over after %s", took.Round(100*time.Millisecond))
	if took > 35*time.Second {
		t.Errorf("taken over after %s", took)
	}
	p.must(sim.SetFaults())
	p.eventually("the backfill", p.synced(org))
	p.exact(org)
	if n, attempts := p.runs(org, "backfill"), scalar[int](p, `SELECT max(attempts) FROM ingest.runs WHERE kind = 'backfill'`); n != 1 || attempts != 2 {
		t.Errorf("%d runs, %d attempts: the second process should have gone on with the first one's run", n, attempts)
	}
}

func TestAFrozenProcessIsTakenOverAndDoesNoHarmWhenItComesBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	first := p.process(child{})
	p.eventually("half of the backfill", func() bool { return sim.Stats().Endpoints["GET /conversations/{id}"] > 100 })
	p.must(first.Process.Signal(syscall.SIGSTOP))
	frozen := time.Now()
	p.process(child{})
	p.eventually("the takeover", func() bool {
		return scalar[bool](p, `SELECT EXISTS (SELECT FROM ingest.river_job j JOIN ingest.processes p ON p.id = j.attempted_by[array_upper(j.attempted_by, 1)]
			WHERE j.kind = 'backfill' AND j.state = 'running' AND array_length(j.attempted_by, 1) = 2)`)
	})
	t.Logf("taken over after %s", time.Since(frozen).Round(100*time.Millisecond))
	p.must(first.Process.Signal(syscall.SIGCONT))
	p.must(sim.SetFaults())
	p.eventually("the backfill", p.synced(org))
	p.eventually("the end of all jobs", func() bool {
		return scalar[int](p, `SELECT count(*) FROM ingest.river_job WHERE finalized_at IS NULL`) == 0
	})
	p.whole(org)
	if n := p.runs(org, "backfill"); n != 1 {
		t.Errorf("%d backfills", n)
	}
}

func TestAStoppedProcessGivesItsJobsBackAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	org, sim := p.connect(1, busy)
	p.drag(sim)
	p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	first := p.process(child{})
	p.eventually("half of the backfill", func() bool { return sim.Stats().Endpoints["GET /conversations/{id}"] > 100 })
	p.must(first.Process.Signal(syscall.SIGTERM))
	if err := first.Wait(); err != nil {
		t.Fatalf("the process did not stop in order: %v", err)
	}
	var state string
	var attempt int
	p.must(p.db.Pool().QueryRow(t.Context(), `SELECT state::text, attempt FROM ingest.river_job WHERE kind = 'backfill'`).Scan(&state, &attempt))
	if state != "available" || attempt != 0 {
		t.Errorf("the job is %s after attempt %d, want available after none", state, attempt)
	}
	if done := scalar[int](p, `SELECT count(*) FROM public.transcripts`); done == 0 {
		t.Error("what was read is not committed")
	}
	p.process(child{})
	p.must(sim.SetFaults())
	p.eventually("the backfill", p.synced(org))
	p.exact(org)
}

// Long variant: many kills at random moments of processes that work on many organisations.
func TestNothingIsLostOrDoubledOverManyKills(t *testing.T) {
	t.Parallel()
	kills, orgs := 1, 3
	if os.Getenv("HALOINGEST_PROOF") == "long" {
		kills, orgs = 30, 16
	}
	p := newPlace(t)
	for n := range orgs {
		org, _ := p.connect(n+1, slow(intercomtest.Options{Seed: uint64(n + 1), Conversations: 120, Contacts: 40, Companies: 5, Tickets: 10}, 10*time.Millisecond))
		p.must(p.queue.Backfill(t.Context(), nil, org, BackfillOptions{}))
	}
	var last atomic.Pointer[exec.Cmd]
	last.Store(p.process(child{Backfills: 4}))
	requests := func() (n int64) {
		for _, sim := range p.sims {
			n += sim.Stats().Requests
		}
		return n
	}
	for range kills {
		was := requests()
		p.eventually("some work", func() bool {
			return requests() > was+40 || scalar[bool](p, `SELECT bool_and(synced_to IS NOT NULL) FROM ingest.connections`)
		})
		p.must(last.Load().Process.Kill())
		_ = last.Load().Wait() // killed
		last.Store(p.process(child{Backfills: 4}))
	}
	for org := range p.sims {
		for deadline := time.Now().Add(5 * time.Minute); !p.synced(org)() && time.Now().Before(deadline); {
			time.Sleep(100 * time.Millisecond)
		}
		p.eventually("the backfill", p.synced(org))
		p.exact(org)
	}
}
