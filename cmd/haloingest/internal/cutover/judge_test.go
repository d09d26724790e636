package cutover

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/postgres"
)

var (
	org  = record.UUID{0x6f, 0x1b, 0x2a, 0x34, 0x5c, 0x6d, 0x4e, 0x7f, 0x8a, 0x9b, 0x0c, 0x1d, 0x2e, 0x3f, 0x4a, 0x5b}
	now  = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	runA = record.UUID{0xa}
	runB = record.UUID{0xb}
)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// diffOf is a diff that compared everything and ended at a time.
func diffOf(left string, verdict diff.Verdict, started time.Time) postgres.DiffRun {
	r := diff.Report{Version: diff.ReportVersion, ID: record.UUID{0xd, byte(started.Minute())}, Left: left, Right: "postgres", Level: diff.LevelFull, Verdict: verdict}
	for _, name := range diff.Entities {
		r.Entities = append(r.Entities, diff.Entity{Name: name})
	}
	doc, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return postgres.DiffRun{
		ID: r.ID, Left: left, Right: "postgres", Level: "full", Verdict: string(verdict), Sentence: "the sentence",
		StartedAt: started, FinishedAt: started.Add(10 * time.Minute), Report: doc,
	}
}

// good is the evidence of a migration that is done.
func good() Evidence {
	var walks []Walk
	for _, kind := range record.Kinds {
		walks = append(walks, Walk{Stream: kind.Stream(), Run: runA, Attempts: 2, UserIDField: "email", CompanyIDField: "name", StartedAt: ago(30 * time.Hour), FinishedAt: ago(20 * time.Hour)})
	}
	return Evidence{
		Org: org, At: now,
		Connection: connection.Connection{
			Org: org, Region: "eu", Workspace: record.Workspace{ID: "abc123", Name: "Acme"}, Connected: true, TokenHint: "wxyz", HasWebhookSecret: true, UserIDField: "email", CompanyIDField: "name",
			ConnectedAt: ago(48 * time.Hour), LastSyncedAt: ago(time.Hour), SyncedTo: ago(70 * time.Minute),
		},
		Status: postgres.Status{Contacts: postgres.Total{Live: 9_000, Deleted: 12}, Companies: postgres.Total{Live: 310}, Conversations: postgres.Total{Live: 20_000}, Tickets: postgres.Total{Live: 411},
			Run: &postgres.RunInfo{Kind: "sync", State: postgres.RunComplete}},
		Walks:     walks,
		Wrote:     &Write{Run: runB, Kind: "sync", At: ago(time.Hour)},
		Inbox:     Inbox{Received: 1_200, Newest: ago(3 * time.Minute)},
		Snapshots: []Kept{{Location: "/data/snapshot", Runs: 12, Files: 340, Bytes: 9 << 30, Walked: true, NewestAt: ago(time.Hour)}},
		Diffs:     []postgres.DiffRun{diffOf("intercom", diff.VerdictEqual, ago(40*time.Minute))},
	}
}

func itemOf(t *testing.T, c Checklist, key string) Item {
	t.Helper()
	for _, item := range c.Items {
		if item.Key == key {
			return item
		}
	}
	t.Fatalf("there is no item %s", key)
	return Item{}
}

func TestADoneMigrationIsSafe(t *testing.T) {
	t.Parallel()
	c := Judge(good(), Options{})
	for _, item := range c.Items {
		if item.Status != Pass || item.Evidence == "" || item.Advice != "" || len(item.Next) > 0 || item.ProofAt.IsZero() {
			t.Errorf("%+v", item)
		}
	}
	if !c.Safe || c.ExitCode != 0 || !strings.HasPrefix(c.Sentence, "SAFE to disconnect") || len(c.Items) != len(titles) {
		t.Errorf("%+v", c)
	}
}

// Each thing that can be wrong is wrong alone here.
func TestEachFaultIsFoundAndNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		do     func(*Evidence)
		o      Options
		key    string
		status Status
		says   string // in the evidence or its details
		next   string // a command
	}{
		{"disconnected", func(e *Evidence) { e.Connection.Connected = false }, Options{}, Connected, Fail, "no access token is stored", "haloingest connect --region eu --token-file FILE"},
		{"no backfill", func(e *Evidence) { e.Walks = nil }, Options{}, Backfill, Fail, "No backfill of everything", "haloingest backfill"},
		{"an interrupted backfill", func(e *Evidence) {
			e.Walks = nil
			e.Unfinished = &postgres.RunInfo{State: postgres.RunFailed, Error: "skipped tickets", Streams: []postgres.StreamInfo{{Stream: "tickets", Skipped: "the token may not read tickets"}}}
		}, Options{}, Backfill, Fail, "tickets: skipped: the token may not read tickets", "haloingest backfill"},
		{"a stream left out", func(e *Evidence) {
			e.Walks = slices.DeleteFunc(e.Walks, func(w Walk) bool { return w.Stream == "tickets" })
		}, Options{}, Backfill, Fail, "No backfill has read tickets to the end.", "haloingest backfill"},
		{"a backfill in parts", func(e *Evidence) { e.Walks[3].Run, e.Walks[3].FinishedAt = runB, ago(30*time.Hour) }, Options{}, Backfill, Pass, "2 backfills, the first of 2026-11-19 06:00:00 UTC, have read all four streams to the end, in 4 attempts.", ""},
		{"a stream read again in vain", func(e *Evidence) {
			e.Unfinished = &postgres.RunInfo{State: postgres.RunInterrupted, StartedAt: ago(time.Hour)}
		}, Options{}, Backfill, Pass, "A further one, begun 2026-11-20 11:00:00 UTC, was interrupted.", ""},
		{"other id fields", func(e *Evidence) { e.Connection.UserIDField = "id" }, Options{}, Backfill, Fail, "mapped with other id fields", "haloingest backfill"},
		{"replayed", func(e *Evidence) { e.Walks, e.Replay = nil, &postgres.RunInfo{FinishedAt: ago(time.Hour)} }, Options{}, Backfill, Warn, "loaded from a snapshot", "haloingest backfill"},
		{"a run under way", func(e *Evidence) {
			e.Status.Lease = &postgres.LeaseInfo{Alive: true, Holder: "sync on host (process 7)"}
			e.Status.Run = &postgres.RunInfo{Kind: "sync", State: postgres.RunRunning, StartedAt: ago(time.Minute)}
		}, Options{}, Running, Warn, "A sync, begun 2026-11-20 11:59:00 UTC, is under way (sync on host (process 7))", "haloingest cutover"},
		{"a failed run", func(e *Evidence) {
			e.Status.Run = &postgres.RunInfo{ID: runB, Kind: "sync", State: postgres.RunFailed, Error: "Intercom answered 500"}
		}, Options{}, Running, Warn, "failed (Intercom answered 500)", "haloingest runs show " + runB.String()},
		{"an old sync", func(e *Evidence) { e.Connection.LastSyncedAt = ago(121 * time.Minute) }, Options{}, SyncFresh, Fail, "at most 2h are allowed", "haloingest sync"},
		{"a sync at the limit", func(e *Evidence) { e.Connection.LastSyncedAt = ago(2 * time.Hour) }, Options{}, SyncFresh, Pass, "The last complete sync", ""},
		{"a sync of another limit", func(*Evidence) {}, Options{MaxSyncAge: 90 * time.Second}, SyncFresh, Fail, "at most 1m30s are allowed", "haloingest sync"},
		{"no sync", func(e *Evidence) { e.Connection.LastSyncedAt = time.Time{} }, Options{}, SyncFresh, Fail, "Nothing was read to the end", "haloingest backfill"},
		{"open deliveries", func(e *Evidence) {
			e.Inbox = Inbox{Received: 10, Open: 2, Failed: 1, OldestOpen: ago(time.Hour), Error: "read contact 5: gone"}
		}, Options{}, Webhooks, Fail, "2 deliveries are accepted and not worked off", "haloingest cutover"},
		{"why deliveries fail", func(e *Evidence) {
			e.Inbox = Inbox{Received: 10, Open: 2, Failed: 1, OldestOpen: ago(time.Hour), Error: "read contact 5: gone"}
		}, Options{}, Webhooks, Fail, "because: read contact 5: gone", ""},
		{"deliveries that failed too often", func(e *Evidence) {
			e.Inbox = Inbox{Received: 10, Open: 2, Failed: 2, Parked: 1, OldestOpen: ago(time.Hour), Error: "read contact 5: still there"}
		}, Options{}, Webhooks, Fail, "1 delivery failed too often and will not be tried again by itself.", "haloingest rejects retry"},
		{"deliveries that name nothing", func(e *Evidence) { e.Inbox = Inbox{Received: 10, Nameless: 3} }, Options{}, Webhooks, Warn,
			"3 deliveries name nothing that can be read and are put aside. Of 10 deliveries, all others are worked off.", "haloingest sync"},
		{"no secret", func(e *Evidence) { e.Inbox = Inbox{}; e.Connection.HasWebhookSecret = false }, Options{}, Webhooks, Warn, "No webhook secret is configured", "haloingest connect --region eu --token-file FILE --webhook-secret-file FILE --no-backfill"},
		{"no delivery", func(e *Evidence) { e.Inbox = Inbox{} }, Options{}, Webhooks, Warn, "no delivery has arrived", "haloingest sync"},
		{"rejects", func(e *Evidence) {
			e.Rejects = []postgres.RejectCount{{Kind: "conversation", Field: "parts", Reason: "want a list", Open: 2}, {Kind: "contact", Open: 1}}
		}, Options{}, Rejects, Fail, "3 objects could not be loaded, for 2 causes", "haloingest rejects retry"},
		{"cut conversations", func(e *Evidence) {
			e.Cut, e.Incomplete = 1, []Incomplete{{SourceID: "77", Held: 500, Expected: 612, Cut: true}}
		}, Options{}, Conversations, Pass, "conversation 77: 500 parts held of 612", ""},
		{"an unexplained conversation", func(e *Evidence) { e.Cut, e.Unexplained = 1, 1 }, Options{}, Conversations, Fail, "19,998 complete, 1 cut by Intercom, which gives out no more than 500 parts of each, and 1 incomplete for another reason", "haloingest backfill --restart"},
		{"links that wait", func(e *Evidence) { e.Links.Waiting = 3 }, Options{}, Links, Pass, "3 links wait, all of them for objects that Intercom has not given out", ""},
		{"a broken link", func(e *Evidence) { e.Links = LinkCounts{Waiting: 3, Broken: 1} }, Options{}, Links, Fail, "1 link waits for an object that is there; 2 wait for one that is not", "haloingest backfill --restart"},
		{"files that nobody asked for", func(e *Evidence) { e.Attachments = Inventory{Files: 5, Unasked: 5, Bytes: 3 << 20} }, Options{}, Attachments, Warn, "5 attachments: 0 saved (0 B), 5 never asked for. Their links end with Intercom; what is not saved by then (3.0 MiB as far as Intercom says) is lost", "haloingest backfill --restart --attachments DIR"},
		{"files that are wanted by flag", func(e *Evidence) { e.Attachments = Inventory{Files: 5, Unasked: 5} }, Options{AttachmentsWanted: true}, Attachments, Fail, "5 never asked for", "haloingest backfill --restart --attachments DIR"},
		{"files that are not saved", func(e *Evidence) {
			e.Attachments = Inventory{Wanted: true, Files: 5, Saved: 4, SavedBytes: 99, Failed: 1}
		}, Options{}, Attachments, Fail, "4 saved (99 B), 1 could not be saved", "haloingest sync --attachments DIR"},
		{"why files are not saved", func(e *Evidence) {
			e.Attachments = Inventory{Wanted: true, Files: 5, Failed: 5, Causes: []Cause{{"404", 4}, {"too large", 1}}}
		}, Options{AcceptUnsaved: 4}, Attachments, Fail, "4 files: 404\n1 file: too large", ""},
		{"files that are accepted as missing", func(e *Evidence) { e.Attachments = Inventory{Wanted: true, Files: 5, Failed: 3, Unasked: 2} }, Options{AcceptUnsaved: 5}, Attachments, Warn, "So many were accepted as missing: --accept-unsaved 5.", ""},
		{"files that are saved or gone", func(e *Evidence) { e.Attachments = Inventory{Wanted: true, Files: 5, Saved: 4, Gone: 1} }, Options{}, Attachments, Pass, "1 gone with their conversation or ticket", ""},
		{"no snapshot", func(e *Evidence) { e.Snapshots = nil }, Options{}, Snapshot, Warn, "No snapshot was kept", "haloingest backfill --restart --snapshot DIR"},
		{"a part of a snapshot", func(e *Evidence) { e.Snapshots[0].Walked = false }, Options{}, Snapshot, Warn, "no backfill of everything is in it", "haloingest backfill --restart --snapshot DIR"},
		{"a snapshot that lacks a run", func(e *Evidence) { e.Snapshots[0].Left = Write{Run: runB, Kind: "sync", At: ago(time.Hour)} }, Options{}, Snapshot, Warn, "What the sync of 2026-11-20 11:00:00 UTC wrote is not in it", "haloingest backfill --restart --snapshot DIR"},
		{"no diff", func(e *Evidence) { e.Diffs = nil }, Options{}, Diff, Fail, "No diff of everything", "haloingest diff intercom postgres"},
		{"a diff of a part", func(e *Evidence) { e.Diffs[0].Only = []string{"contacts"} }, Options{}, Diff, Fail, "contacts only", "haloingest diff intercom postgres"},
		{"a diff of hashes", func(e *Evidence) { e.Diffs[0].Level = "fast" }, Options{}, Diff, Fail, "at level fast", "haloingest diff intercom postgres"},
		{"a diff the other way", func(e *Evidence) { e.Diffs[0].Left, e.Diffs[0].Right = "postgres", "intercom" }, Options{}, Diff, Fail, "compares postgres with intercom", "haloingest diff intercom postgres"},
		{"an interrupted diff", func(e *Evidence) { e.Diffs[0].Verdict = "partial" }, Options{}, Diff, Fail, "and was interrupted", "haloingest diff intercom postgres"},
		{"a diff that differs", func(e *Evidence) { e.Diffs[0].Verdict = "different" }, Options{}, Diff, Fail, "the sentence", "haloingest sync --from-diff 0d14"},
		{"a diff that could not verify all", func(e *Evidence) { e.Diffs[0].Verdict = "unverified" }, Options{}, Diff, Fail, "the sentence", "haloingest diff intercom postgres"},
		{"a diff whose totals are broken", func(e *Evidence) { e.Diffs[0].Verdict = "broken" }, Options{}, Diff, Fail, "the sentence", ""},
		{"a diff before the last write", func(e *Evidence) { e.Wrote.At = ago(39 * time.Minute) }, Options{}, Diff, Fail, "Since it began, the sync " + runB.String() + " has written, last 2026-11-20 11:21:00 UTC", "haloingest diff intercom postgres"},
		{"a diff that began with the last write", func(e *Evidence) { e.Wrote.At = ago(40 * time.Minute) }, Options{}, Diff, Fail, "Since it began", "haloingest diff intercom postgres"},
		{"an old diff", func(e *Evidence) {
			e.Diffs[0] = diffOf("intercom", diff.VerdictEqual, ago(24*time.Hour+11*time.Minute))
			e.Wrote = nil
		}, Options{}, Diff, Fail, "at most 24h are allowed", "haloingest diff intercom postgres"},
		{"a diff without tickets", func(e *Evidence) {
			d := &e.Diffs[0]
			d.Report = json.RawMessage(strings.Replace(string(d.Report), `"tickets"`, `"others"`, 1))
		}, Options{}, Diff, Fail, "It has not compared tickets.", "haloingest diff intercom postgres"},
		{"a diff with an entity cut short", func(e *Evidence) {
			var r diff.Report
			if err := json.Unmarshal(e.Diffs[0].Report, &r); err != nil {
				panic(err)
			}
			r.Entities[4].Partial = true
			e.Diffs[0].Report, _ = json.Marshal(r)
		}, Options{}, Diff, Fail, "It has not compared knowledge.", ""},
		{"an interrupted diff after an equal one", func(e *Evidence) {
			partial := diffOf("intercom", diff.VerdictPartial, ago(10*time.Minute))
			e.Diffs = append([]postgres.DiffRun{partial}, e.Diffs...)
		}, Options{}, Diff, Pass, "the sentence", ""},
		{"a different diff after an equal one", func(e *Evidence) {
			other := diffOf("intercom", diff.VerdictDifferent, ago(10*time.Minute))
			e.Diffs = append([]postgres.DiffRun{other}, e.Diffs...)
		}, Options{}, Diff, Fail, "the sentence", ""},
		{"a diff with a snapshot alone", func(e *Evidence) { e.Diffs[0].Left = "snapshot:/data/snapshot" }, Options{}, Diff, Fail, "does not say that everything was read", "haloingest diff intercom postgres"},
		{"an equal diff with a snapshot after a different one with Intercom", func(e *Evidence) {
			e.Diffs = []postgres.DiffRun{diffOf("snapshot:/data/snapshot", diff.VerdictEqual, ago(10*time.Minute)), diffOf("intercom", diff.VerdictDifferent, ago(time.Hour))}
		}, Options{}, Diff, Fail, "the sentence", ""},
		{"a table that cannot be read", func(e *Evidence) {
			e.Missed = map[string]error{Webhooks: errors.New("permission denied for table webhook_inbox")}
		}, Options{}, Webhooks, Unknown, "permission denied for table webhook_inbox", "haloingest cutover"},
	} {
		e := good()
		tt.do(&e)
		c := Judge(e, tt.o)
		item := itemOf(t, c, tt.key)
		if item.Status != tt.status {
			t.Errorf("%s: %s %s, want %s: %s", tt.name, item.Status, item.Title, tt.status, item.Evidence)
			continue
		}
		if said := item.Evidence + "\n" + strings.Join(item.Details, "\n"); !strings.Contains(said, tt.says) {
			t.Errorf("%s: it does not say %q:\n%s", tt.name, tt.says, said)
		}
		if tt.next != "" && !slices.ContainsFunc(item.Next, func(line string) bool { return strings.HasPrefix(line, tt.next) }) {
			t.Errorf("%s: no command %q in %q", tt.name, tt.next, item.Next)
		}
		for _, line := range item.Next {
			if !strings.HasSuffix(line, " --org "+org.String()) && !strings.HasPrefix(line, "haloingest serve ") {
				t.Errorf("%s: the command is not complete: %s", tt.name, line)
			}
		}
		if (item.Status == Pass) != (len(item.Next) == 0) {
			t.Errorf("%s: %s with %q", tt.name, item.Status, item.Next)
		}
		wantCode := map[Status]int{Pass: 0, Warn: 0, Fail: 1, Unknown: 3}[tt.status]
		if tt.key == SyncFresh && tt.name == "no sync" || strings.Contains(tt.name, "sync") && tt.status == Fail {
			wantCode = 1
		}
		if c.ExitCode != wantCode || c.Safe != (wantCode == 0) || strings.HasPrefix(c.Sentence, "SAFE") != c.Safe || strings.HasPrefix(c.Sentence, "NOT SAFE") == c.Safe {
			t.Errorf("%s: code %d, want %d: %s", tt.name, c.ExitCode, wantCode, c.Sentence)
		}
		for _, other := range c.Items {
			if other.Key != tt.key && other.Status != Pass && !(tt.key == Diff && (other.Key == SyncFresh || other.Key == Snapshot)) {
				t.Errorf("%s: %s %s as well: %s", tt.name, other.Status, other.Title, other.Evidence)
			}
		}
	}
}

func TestWhatFailsCountsForMoreThanWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	e := good()
	e.Missed = map[string]error{Links: errors.New("permission denied")}
	if c := Judge(e, Options{}); c.ExitCode != 3 || c.Safe || c.Sentence != "NOT SAFE to disconnect Intercom. Still to be settled: every link made." {
		t.Errorf("%d: %s", c.ExitCode, c.Sentence)
	}
	e.Diffs = nil
	if c := Judge(e, Options{}); c.ExitCode != 1 || c.Safe || c.Sentence != "NOT SAFE to disconnect Intercom. Still to be settled: every link made; diff equal." {
		t.Errorf("%d: %s", c.ExitCode, c.Sentence)
	}
}
