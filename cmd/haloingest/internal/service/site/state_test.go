package site

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/sinks/postgres"
)

func TestEveryStateHasItsStandingAndWhatCanBeDone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	conn := connection.Connection{Connected: true, IngestEnabled: true}
	run := func(kind string, state postgres.RunState, ended time.Duration, why string) *postgres.RunInfo {
		return &postgres.RunInfo{Kind: kind, State: state, Error: why, StartedAt: before(ended + time.Hour), FinishedAt: before(ended)}
	}
	job := func(kind string, state work.JobState, since time.Duration, why string) []work.Job {
		return []work.Job{{Kind: kind, State: state, Since: before(since), Due: before(since), Error: why}}
	}
	synced := func(d time.Duration) postgres.Status { return postgres.Status{LastSyncedAt: before(d)} }
	off, refields := conn, conn
	off.IngestEnabled, refields.FullReadDue = false, true
	for name, tt := range map[string]struct {
		f       facts
		key     string
		offered standing // its flags
	}{
		"nothing was ever connected":            {facts{}, stNotConnected, standing{Connect: true}},
		"it was disconnected":                   {facts{Known: true, Conn: connection.Connection{}}, stDisconnected, standing{Connect: true}},
		"connected by a command, nothing read":  {facts{Known: true, Conn: conn}, stUnread, standing{GoOn: true}},
		"a backfill waits":                      {facts{Known: true, Conn: conn, Jobs: job("backfill", work.JobWaiting, time.Second, "")}, stWaiting, standing{}},
		"nobody takes it up":                    {facts{Known: true, Conn: conn, Jobs: job("backfill", work.JobWaiting, time.Hour, "")}, stStuck, standing{}},
		"it runs":                               {facts{Known: true, Conn: conn, Last: run("backfill", postgres.RunRunning, 0, "")}, stRunning, standing{}},
		"a job runs whose run has not begun":    {facts{Known: true, Conn: conn, Jobs: job("backfill", work.JobRunning, time.Second, "")}, stRunning, standing{}},
		"it is tried again by itself":           {facts{Known: true, Conn: conn, Jobs: job("backfill", work.JobRetrying, time.Minute, "503")}, stRetrying, standing{TryNow: true}},
		"the token was revoked":                 {facts{Known: true, Conn: conn, Jobs: job("backfill", work.JobPaused, time.Minute, "401 unauthorized")}, stFailed, standing{Connect: true}},
		"a job has failed for good":             {facts{Known: true, Conn: conn, Jobs: job("backfill", work.JobFailed, time.Minute, "too many rejects")}, stFailed, standing{GoOn: true}},
		"a command's backfill has failed":       {facts{Known: true, Conn: conn, Last: run("backfill", postgres.RunFailed, time.Hour, "disk full")}, stFailed, standing{GoOn: true}},
		"its process is gone":                   {facts{Known: true, Conn: conn, Last: run("backfill", postgres.RunInterrupted, time.Hour, "gone")}, stInterrupted, standing{GoOn: true}},
		"in step":                               {facts{Known: true, Conn: conn, Status: synced(time.Minute), Last: run("sync", postgres.RunComplete, time.Minute, "")}, stInStep, standing{Sync: true}},
		"a sync begins in a moment":             {facts{Known: true, Conn: conn, Status: synced(time.Hour), Jobs: job("sync", work.JobWaiting, time.Second, "")}, stInStep, standing{Sync: true}},
		"webhooks are worked off":               {facts{Known: true, Conn: conn, Status: synced(time.Minute), Jobs: job("drain", work.JobRunning, time.Second, "")}, stInStep, standing{Sync: true}},
		"a sync runs":                           {facts{Known: true, Conn: conn, Status: synced(time.Hour), Last: run("sync", postgres.RunRunning, 0, "")}, stRunning, standing{}},
		"the last sync has failed":              {facts{Known: true, Conn: conn, Status: synced(time.Hour), Last: run("sync", postgres.RunFailed, time.Minute, "reset")}, stFailed, standing{Sync: true}},
		"a sync failed before one that did not": {facts{Known: true, Conn: conn, Status: synced(time.Minute), Last: run("sync", postgres.RunFailed, time.Hour, "reset")}, stInStep, standing{Sync: true}},
		"the regular sync is late":              {facts{Known: true, Conn: conn, Status: synced(3 * time.Hour)}, stLate, standing{Sync: true}},
		"late, where syncs are rare, is later":  {facts{Known: true, Conn: conn, Status: synced(3 * time.Hour), SyncEvery: 6 * time.Hour}, stInStep, standing{Sync: true}},
		"and sooner where they are frequent":    {facts{Known: true, Conn: conn, Status: synced(20 * time.Minute), SyncEvery: time.Minute}, stLate, standing{Sync: true}},
		"ingest is off":                         {facts{Known: true, Conn: off, Status: synced(9 * time.Hour)}, stOff, standing{TurnOn: true}},
		"ingest is off, and a job waits for it": {facts{Known: true, Conn: off, Status: synced(time.Hour), Jobs: job("sync", work.JobPaused, time.Hour, "ingest is off")}, stOff, standing{TurnOn: true}},
		"other fields were chosen":              {facts{Known: true, Conn: refields, Status: synced(time.Minute)}, stRefields, standing{Restart: true}},
	} {
		tt.f.At, tt.f.SyncEvery = now, cmp.Or(tt.f.SyncEvery, time.Hour)
		got := judge(tt.f)
		if got.Key != tt.key {
			t.Errorf("%s: it stands %q, want %q", name, got.Key, tt.key)
		}
		if offered := (standing{Sync: got.Sync, GoOn: got.GoOn, Restart: got.Restart, TurnOn: got.TurnOn, Connect: got.Connect, TryNow: got.TryNow}); offered != tt.offered {
			t.Errorf("%s: it offers %+v, want %+v", name, offered, tt.offered)
		}
		if got.Head == "" || got.Text == "" || got.Tone == "" {
			t.Errorf("%s: it says nothing: %+v", name, got)
		}
	}
}

func TestAJobThatRestsIsNotAboutToBegin(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	got := judge(facts{At: now, Known: true, Conn: connection.Connection{Connected: true, IngestEnabled: true},
		Jobs: []work.Job{{Kind: "backfill", State: work.JobWaiting, Since: now.Add(-time.Minute), Due: now.Add(40 * time.Minute)}}})
	if got.Key != stWaiting || strings.Contains(got.Text, "seconds") || !strings.Contains(got.Text, "40 min") || !strings.Contains(got.Text, "12:40") {
		t.Errorf("it stands %+v", got)
	}
}

// Words of an error may mislead: what kind of failure it was, the job tells.
func TestWhatToDoFollowsFromTheKindOfFailure(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	const misleading = "read conversation 401: unexpected token"
	for cause, want := range map[work.Cause]struct {
		do      string
		connect bool
	}{
		work.CauseIntercom:   {"status page", false},
		work.CauseDatabase:   {"database can be reached", false},
		work.CauseMasterKey:  {"master key", false},
		work.CausePermission: {"that permission", true},
		work.CauseToken:      {"Make a new one", true},
		"":                   {"Make a new one", true}, // of a run of a command there are words only
	} {
		got := judge(facts{At: now, Known: true, Conn: connection.Connection{Connected: true, IngestEnabled: true},
			Jobs: []work.Job{{Kind: "backfill", State: work.JobFailed, Since: now, Due: now, Error: misleading, Cause: cause}}})
		if got.Key != stFailed || !strings.Contains(got.Do, want.do) || got.Connect != want.connect {
			t.Errorf("%q: %+v", cause, got)
		}
	}
}

func TestSmallDaysAreSeenBesideALargeOne(t *testing.T) {
	t.Parallel()
	var list []bucket
	for i := range 14 {
		list = append(list, bucket{From: time.Date(2026, 5, 1+i, 0, 0, 0, 0, time.UTC), Rows: 400, Requests: 90})
	}
	if a := draw("day", list); a.Root || a.Buckets[3].RowsHeight != chartHeight || a.RowsWords != "Rows written by the day from 1 May to now: 5,600 in all, most of them at 1 May with 400" {
		t.Errorf("equal days: %+v", a)
	}
	list[0].Rows = 40_000
	a := draw("day", list)
	if !a.Root || a.Buckets[0].RowsHeight != chartHeight || a.Buckets[1].RowsHeight != 10 {
		t.Errorf("beside a backfill: root %v, heights %d and %d", a.Root, a.Buckets[0].RowsHeight, a.Buckets[1].RowsHeight)
	}
	list[2].Rows = 0
	if h := draw("day", list).Buckets[2].RowsHeight; h != 0 {
		t.Errorf("nothing is %d high", h)
	}
	if a := draw("day", nil); len(a.Buckets) != 0 || a.RowsWords != "Rows written by the day: none" {
		t.Errorf("no runs: %+v", a)
	}
}
