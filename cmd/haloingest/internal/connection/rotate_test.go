package connection_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// long is the length of the proof: see the other long variants.
var long = os.Getenv("HALOINGEST_PROOF") == "long"

// everySealed is SQL for all ciphertexts, written apart from the program's own list.
const everySealed = `(SELECT token AS c FROM ingest.connections UNION ALL SELECT webhook_secret FROM ingest.connections
	UNION ALL SELECT webhook_secret_previous FROM ingest.connections UNION ALL SELECT token FROM ingest.connection_drafts) s WHERE c IS NOT NULL`

// sealers are the ids of the keys that have sealed something, by what Tink's ciphertexts begin with.
func sealers(t *testing.T, db *postgres.DB) []string {
	t.Helper()
	rows, err := db.Pool().Query(t.Context(), `SELECT DISTINCT encode(substring(c FROM 1 FOR 5), 'hex') FROM `+everySealed+` ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// onlyKey requires that the key set has one key and that it has sealed everything.
func onlyKey(t *testing.T, db *postgres.DB, s *connection.Store) {
	t.Helper()
	k, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(k.Keys) != 1 || k.Keys[0].State != connection.KeyPrimary || k.Unknown != 0 {
		t.Fatalf("keys at the end: %+v", k)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("01%08x", k.Keys[0].ID)}, sealers(t, db)); diff != "" {
		t.Errorf("what has sealed (-want +got):\n%s", diff)
	}
	if n := count(t, db, `SELECT count(*) FROM `+everySealed); int64(n) != k.Keys[0].Secrets {
		t.Errorf("%d secrets, and %d are listed", n, k.Keys[0].Secrets)
	}
}

func rotate(t *testing.T, s *connection.Store, keep time.Duration) connection.Rotation {
	t.Helper()
	r, err := s.Rotate(t.Context(), connection.RotateOptions{KeepOld: keep})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARotationLeavesNothingThatTheOldKeyHasSealed(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	if r := rotate(t, s, 0); r.Key != 0 {
		t.Errorf("a key without a secret: %+v", r)
	}
	put(t, s, org, acme, "canary-token-0001", "hook-1")
	if err := s.SetWebhookSecret(t.Context(), org, secret.NewText("hook-2"), time.Hour); err != nil {
		t.Fatal(err)
	}
	put(t, s, other, record.Workspace{ID: "other1"}, "canary-token-0002", "")
	if _, err := s.PutDraft(t.Context(), other, "somebody", "us", secret.NewText("canary-token-0003")); err != nil {
		t.Fatal(err)
	}
	before := sealers(t, db)
	r := rotate(t, s, time.Hour)
	if r.Resealed != 5 || len(r.Disabled) != 1 || len(r.Deleted) != 0 || len(r.Unreadable) != 0 || r.Resumed {
		t.Errorf("got %+v", r)
	}
	after := sealers(t, db)
	if len(before) != 1 || len(after) != 1 || before[0] == after[0] {
		t.Errorf("sealed by %v, then by %v", before, after)
	}
	opensAll := func() {
		t.Helper()
		again := connection.NewStore(db.Pool(), master)
		for id, want := range map[record.UUID]string{org: "canary-token-0001", other: "canary-token-0002"} {
			if got, err := again.Token(t.Context(), id); err != nil || got.Reveal() != want {
				t.Errorf("got %q, %v", got.Reveal(), err)
			}
		}
		if got, err := again.DraftToken(t.Context(), other, "somebody"); err != nil || got.Reveal() != "canary-token-0003" {
			t.Errorf("got %q, %v", got.Reveal(), err)
		}
		ring := connection.NewKeyring(again, slog.New(slog.DiscardHandler))
		if diff := cmp.Diff(secrets("hook-2", "hook-1"), keysOf(t, ring, org).Secrets); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	opensAll()
	// Its hour is not over: the next rotation leaves it, and deletes its own at once.
	r = rotate(t, s, 0)
	if len(r.Disabled) != 1 || len(r.Deleted) != 1 || r.Disabled[0] != r.Deleted[0] {
		t.Errorf("got %+v", r)
	}
	if k, err := s.Keys(t.Context()); err != nil || len(k.Keys) != 2 || k.Keys[0].State != connection.KeyDisabled || k.Keys[0].Secrets != 0 ||
		k.Keys[0].DeleteAfter.IsZero() || k.Keys[1].State != connection.KeyPrimary || !k.Keys[1].PrimaryAt.After(k.Keys[0].PrimaryAt) {
		t.Errorf("keys: %+v, %v", k, err)
	}
	if _, err := db.Pool().Exec(t.Context(), `UPDATE ingest.keyset_keys SET delete_after = now() WHERE delete_after IS NOT NULL`); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	opensAll()
	onlyKey(t, db, s)
}

func TestWhatDoesNotOpenKeepsItsKeyAndIsNamed(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	s := connection.NewStore(db.Pool(), master)
	put(t, s, org, acme, "canary-token-0001", "")
	put(t, s, other, record.Workspace{ID: "other1"}, "canary-token-0002", "")
	exec := func(sql string) {
		t.Helper()
		if _, err := db.Pool().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`UPDATE ingest.connections SET token = set_byte(token, 20, get_byte(token, 20) # 1) WHERE workspace_id = 'other1'`)
	r := rotate(t, s, 0)
	if len(r.Unreadable) != 1 || r.Unreadable[0].Org != other || r.Unreadable[0].Column != "ingest.connections.token" || len(r.Disabled) != 0 || r.Resealed != 1 {
		t.Errorf("got %+v", r)
	}
	if got, err := s.Token(t.Context(), org); err != nil || got.Reveal() != "canary-token-0001" {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
	// No Tink ciphertext at all.
	exec(`UPDATE ingest.connections SET token = '\x00' WHERE workspace_id = 'other1'`)
	if again := rotate(t, s, 0); len(again.Unreadable) != 1 || again.Unreadable[0].Key != 0 || again.Key != r.Key || len(again.Disabled) != 1 {
		t.Errorf("got %+v", again)
	}
	put(t, s, other, record.Workspace{ID: "other1"}, "canary-token-0003", "")
	if again := rotate(t, s, 0); len(again.Unreadable) != 0 || again.Resumed || again.Key == r.Key {
		t.Errorf("got %+v", again)
	}
	onlyKey(t, db, s)
}

// Whoever adds a sealed column has to add it to the list of what is rotated.
func TestEveryColumnOfBytesIsRotatedOrKnownNotToBeSealed(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	notSealed := strings.Fields(`
		ingest.keysets.sealed
		ingest.access_links.token_hash ingest.access_tokens.token_hash ingest.sessions.data
		ingest.checkpoints.cursor ingest.embeddings.key ingest.id_map.content_hash ingest.model_answers.answer ingest.model_answers.key
		ingest.rejects.cause ingest.rejects.payload ingest.river_job.unique_key ingest.search_documents.knowledge_hash ingest.webhook_inbox.body
		public.companies.content_hash public.end_users.content_hash public.knowledge.content_hash public.tickets.content_hash
		public.transcripts.content_hash public.transcripts.knowledge_hash`)
	rows, err := db.Pool().Query(t.Context(), `SELECT table_schema || '.' || table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema IN ('public', 'ingest') AND data_type = 'bytea' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		if !slices.Contains(connection.SealedColumns(), name) && !slices.Contains(notSealed, name) {
			t.Errorf("%s holds bytes: is it sealed? then it is to be rotated", name)
		}
	}
	for _, name := range connection.SealedColumns() {
		if !slices.Contains(list, name) {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestARoleThatSeesAPartRotatesNothing(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	put(t, connection.NewStore(db.Pool(), master), org, acme, "canary-token-0001", "")
	as := func(role string) *connection.Store {
		t.Helper()
		pool, err := postgres.Open(t.Context(), db.Pool().Config().ConnString(), postgres.Options{MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		if _, err := pool.Pool().Exec(t.Context(), `SET ROLE `+role); err != nil {
			t.Fatal(err)
		}
		return connection.NewStore(pool.Pool(), master)
	}
	before := sealers(t, db)
	s := as(postgres.OrgRole)
	for name, f := range map[string]func() error{
		"rotate": func() error { _, err := s.Rotate(t.Context(), connection.RotateOptions{}); return err },
		"list":   func() error { _, err := s.Keys(t.Context()); return err },
		"prune":  func() error { _, err := s.PruneKeys(t.Context()); return err },
	} {
		if err := f(); !errors.Is(err, connection.ErrPart) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, sealers(t, db)); diff != "" {
		t.Error(diff)
	}

	// One that is not the owner, and sees all by a policy.
	role := "all_" + strconv.FormatUint(rand.Uint64(), 36)
	do := func(list ...string) {
		t.Helper()
		for _, sql := range list {
			if _, err := db.Pool().Exec(context.Background(), sql); err != nil {
				t.Error(err)
			}
		}
	}
	do(`CREATE ROLE `+role, `GRANT USAGE ON SCHEMA ingest TO `+role, `GRANT ALL ON ALL TABLES IN SCHEMA ingest TO `+role)
	defer do(`DROP OWNED BY `+role, `DROP ROLE `+role)
	s = as(role)
	if r := rotate(t, s, 0); r.Resealed != 1 {
		t.Errorf("got %+v", r)
	}
	do(`DROP POLICY haloingest_all ON ingest.connections`)
	if _, err := s.Rotate(t.Context(), connection.RotateOptions{}); !errors.Is(err, connection.ErrPart) {
		t.Errorf("without the policy: %v", err)
	}
}

// traffic reads and writes the secrets of some organisations, each by one writer and many readers, over pools of their own as if they were
// processes, and checks that nobody ever reads anything but what was written last.
type traffic struct {
	t      *testing.T
	db     *postgres.DB
	stores []*connection.Store
	rings  []*connection.Keyring
	orgs   []record.UUID
	begun  []atomic.Int64 // the newest that a writer has begun to write
	done   []atomic.Int64 // and has written
	reads  atomic.Int64
	writes atomic.Int64
}

func workspaceOf(i int) record.Workspace { return record.Workspace{ID: fmt.Sprint("w", i)} }

func newTraffic(t *testing.T, db *postgres.DB, master secret.MasterKey, orgs, pools int) *traffic {
	x := &traffic{t: t, db: db, begun: make([]atomic.Int64, orgs), done: make([]atomic.Int64, orgs)}
	for range pools {
		pool, err := postgres.Open(t.Context(), db.Pool().Config().ConnString(), postgres.Options{MaxConns: 6})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		s := connection.NewStore(pool.Pool(), master)
		x.stores = append(x.stores, s)
		x.rings = append(x.rings, connection.NewKeyring(s, slog.New(slog.DiscardHandler)))
	}
	for i := range orgs {
		x.orgs = append(x.orgs, record.UUID{0xdd, byte(i)})
		x.write(t.Context(), i)
	}
	return x
}

func token(n int64) secret.Text { return secret.NewText(fmt.Sprintf("canary-token-%08d", n)) }

func number(text string) int64 {
	n, err := strconv.ParseInt(text[strings.LastIndexByte(text, '-')+1:], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// write replaces all secrets of an organisation.
func (x *traffic) write(ctx context.Context, i int) {
	s := x.stores[i%len(x.stores)]
	n := x.begun[i].Add(1)
	set := usual
	set.WebhookGrace = time.Hour
	err := s.Put(ctx, x.orgs[i], workspaceOf(i), set, token(n), secret.Text{})
	if err == nil {
		err = s.SetWebhookSecret(ctx, x.orgs[i], secret.NewText(fmt.Sprint("hook-", n)), time.Hour)
	}
	if err == nil {
		_, err = s.PutDraft(ctx, x.orgs[i], "somebody", "us", token(n))
	}
	if err != nil && ctx.Err() == nil {
		x.t.Errorf("write %d of %d: %v", n, i, err)
	}
	x.done[i].Store(n)
	x.writes.Add(3)
}

// read reads all secrets of an organisation.
func (x *traffic) read(ctx context.Context, i, pool int) {
	s, org := x.stores[pool], x.orgs[i]
	check := func(what string, least int64, text string, err error) {
		x.reads.Add(1)
		if ctx.Err() != nil {
			return
		}
		if n := number(text); err != nil || n < least || n > x.begun[i].Load() {
			x.t.Errorf("%s of %d: read %q, written was %d to %d; %v", what, i, text, least, x.begun[i].Load(), err)
		}
	}
	least := x.done[i].Load()
	text, err := s.Token(ctx, org)
	check("token", least, text.Reveal(), err)
	least = x.done[i].Load()
	text, err = s.DraftToken(ctx, org, "somebody")
	check("draft", least, text.Reveal(), err)
	keys, err := connection.NewKeyring(s, slog.New(slog.DiscardHandler)).Keys(ctx, org, true) // as a process that has just begun
	if len(keys.Secrets) != 2 && x.done[i].Load() > 1 && err == nil && ctx.Err() == nil {
		x.t.Errorf("webhook secrets of %d: %d", i, len(keys.Secrets))
	}
	if len(keys.Secrets) > 0 {
		check("webhook secret", 1, string(keys.Secrets[0]), err)
	}
	_, err = x.rings[pool].Keys(ctx, org, true) // and as one that has run for a while
	if err != nil && ctx.Err() == nil {
		x.t.Errorf("webhook secrets of %d: %v", i, err)
	}
}

// run has traffic until the context is done.
func (x *traffic) run(ctx context.Context) (wait func()) {
	var wg sync.WaitGroup
	for i := range x.orgs {
		wg.Go(func() {
			for ctx.Err() == nil {
				x.write(ctx, i)
			}
		})
	}
	for pool := range x.stores {
		wg.Go(func() {
			for ctx.Err() == nil {
				x.read(ctx, rand.IntN(len(x.orgs)), pool)
			}
		})
	}
	// One comes and goes.
	guest := record.UUID{0xee}
	wg.Go(func() {
		for ctx.Err() == nil {
			s := x.stores[rand.IntN(len(x.stores))]
			if err := s.Put(ctx, guest, record.Workspace{ID: "guest"}, usual, token(1), secret.NewText("hook-1")); err != nil && ctx.Err() == nil {
				x.t.Errorf("connect: %v", err)
			}
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := x.stores[0].Disconnect(ctx, guest); err != nil && ctx.Err() == nil {
				x.t.Errorf("disconnect: %v", err)
			}
		}
	})
	return wg.Wait
}

func (x *traffic) settled() {
	x.t.Helper()
	for i := range x.orgs {
		want := x.begun[i].Load()
		for pool := range x.stores {
			if text, err := x.stores[pool].Token(x.t.Context(), x.orgs[i]); err != nil || number(text.Reveal()) != want {
				x.t.Errorf("token of %d: %q, written was %d; %v", i, text.Reveal(), want, err)
			}
		}
	}
}

func TestKeysAreRotatedAgainAndAgainWhileSecretsAreReadAndReplaced(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	x := newTraffic(t, db, master, 5, 3)
	ctx, stop := context.WithCancel(t.Context())
	wait := x.run(ctx)
	rounds := 12
	if long {
		rounds = 500
	}
	var resealed, resumed atomic.Int64
	var wg sync.WaitGroup
	for i := range 2 { // two at once, each from a process of its own
		wg.Go(func() {
			for range rounds {
				r, err := x.stores[i].Rotate(ctx, connection.RotateOptions{})
				if err != nil || len(r.Unreadable) > 0 {
					t.Errorf("rotate: %+v, %v", r, err)
					return
				}
				resealed.Add(r.Resealed)
				if r.Resumed {
					resumed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	stop()
	wait()
	// What was interrupted is whole or not there.
	for i := range x.orgs {
		x.write(t.Context(), i)
	}
	rotate(t, x.stores[0], 0)
	x.settled()
	onlyKey(t, db, x.stores[0])
	t.Logf("%d rotations, %d of them joined another; %d sealed again by them; %d reads, %d writes", 2*rounds, resumed.Load(), resealed.Load(), x.reads.Load(), x.writes.Load())
	if resealed.Load() == 0 || x.reads.Load() == 0 {
		t.Error("nothing happened at once")
	}
}

// rotateEnv makes the test binary a process that rotates until it is killed.
const rotateEnv = "HALOINGEST_TEST_ROTATE"

func TestMain(m *testing.M) {
	if url := os.Getenv(rotateEnv); url != "" {
		ctx := context.Background()
		db, err := postgres.Open(ctx, url, postgres.Options{MaxConns: 2})
		for err == nil {
			_, err = connection.NewStore(db.Pool(), secret.MasterKey{File: os.Args[1]}).Rotate(ctx, connection.RotateOptions{})
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestARotationThatIsKilledAnywhereIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	db, master := open(t)
	x := newTraffic(t, db, master, 12, 2)
	master = secret.MasterKey{File: filepath.Join(master.DataDir, "master.key")}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	kills := 25
	if long {
		kills = 400
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	between := map[string]int{}
	for i := range kills {
		before := scalar(t, db, `SELECT coalesce(max(updated_at), '-infinity')::text FROM ingest.keysets`)
		cmd := exec.Command(self, master.File)
		cmd.Env = append(os.Environ(), rotateEnv+"="+db.Pool().Config().ConnString())
		var errs strings.Builder
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// From when it has changed the key set for the first time on, it is anywhere.
		for deadline := time.Now().Add(time.Minute); scalar(t, db, `SELECT max(updated_at)::text FROM ingest.keysets`) == before; {
			if time.Now().After(deadline) {
				t.Fatal("it does not rotate")
			}
			time.Sleep(time.Millisecond)
		}
		x.write(t.Context(), i%len(x.orgs))
		time.Sleep(time.Duration(random.Int64N(int64(60 * time.Millisecond))))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		if errs.Len() > 0 {
			t.Fatalf("it failed by itself: %s", errs.String())
		}
		x.settled()
		for org := range x.orgs {
			x.read(t.Context(), org, i%2)
		}
		k, err := x.stores[0].Keys(t.Context())
		if err != nil || k.Unknown != 0 {
			t.Fatalf("keys: %+v, %v", k, err)
		}
		states := ""
		for _, key := range k.Keys {
			states += key.State + " "
		}
		if len(sealers(t, db)) > 1 {
			states += "(both have sealed)"
		}
		between[states]++
		if i%5 == 4 { // else the next process takes it up
			rotate(t, x.stores[0], 0)
			onlyKey(t, db, x.stores[0])
		}
	}
	rotate(t, x.stores[0], 0)
	x.settled()
	onlyKey(t, db, x.stores[0])
	t.Logf("killed %d times, at: %v", kills, between)
	if between["opens primary (both have sealed)"] == 0 {
		t.Error("it was never killed between two rows")
	}
}

func scalar(t *testing.T, db *postgres.DB, query string) (s string) {
	t.Helper()
	if err := db.Pool().QueryRow(t.Context(), query).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}
