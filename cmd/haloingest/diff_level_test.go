package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/sinks/diff"
	"haloingest/sources/intercom/intercomtest"
)

// A listing names conversations that Intercom has, so a row that somebody added is found by it, also one whose id no object gives.
func TestConversationsThatSomebodyAddedAreExtraAtEveryLevelThatLooksAtObjects(t *testing.T) {
	t.Parallel()
	b := newBench(t, diffWorkspace)
	b.connect()
	b.must([]string{"backfill"})
	b.sql(`INSERT INTO public.transcripts (org_id, id, source_id, source_updated_at, subject, status, messages, message_count, expected_message_count, complete, content_hash, run_id, metadata)
		SELECT org_id, gen_random_uuid(), '8888' || row_number() OVER (ORDER BY source_id), source_updated_at, subject, status, messages, message_count, expected_message_count, complete,
			content_hash, run_id, metadata
		FROM (SELECT * FROM public.transcripts WHERE deleted_at IS NULL ORDER BY source_id LIMIT 2) t`)
	want := map[string]string{"transcripts 88881 extra": "", "transcripts 88882 extra": ""}
	for _, level := range []diff.Level{diff.LevelFast, diff.LevelFull} {
		c := b.diff("intercom", "postgres", "--level", string(level), "--only", "conversations")
		if d := cmp.Diff(want, c.faults()); d != "" || c.code != exitDiffers {
			t.Errorf("level %s, code %d, %s (-planted +found):\n%s", level, c.code, c.Sentence, d)
		}
	}
}

// What waits for a customer that is not loaded is explained in whichever order the sides are named.
func TestADefaultWorkspaceIsEqualInBothOrders(t *testing.T) {
	t.Parallel()
	o := diffWorkspace
	o.Conversations, o.Oddities = 600, 0
	b := newBench(t, o)
	b.connect()
	dir := t.TempDir()
	b.must([]string{"backfill", "--snapshot", dir}, exitDone, exitDiffers)
	excluded := func(words ...string) (left, right int64) {
		c := b.diff(words...)
		if c.code != exitDone || c.Verdict != diff.VerdictEqual || len(c.faults()) > 0 {
			t.Errorf("%v: code %d, %s, %v", words, c.code, c.Sentence, c.faults())
		}
		for _, e := range c.Entities {
			if e.Name == "knowledge" {
				left, right = sum(e.Counts.Excluded), sum(e.Counts.ExcludedTarget)
			}
		}
		return left, right
	}
	want, none := excluded("intercom", "postgres")
	if want == 0 || none != 0 {
		t.Fatalf("%d conversations on the left and %d on the right have knowledge that waits for a customer", want, none)
	}
	for _, right := range []string{"intercom", "snapshot:" + dir} {
		if none, got := excluded("postgres", right); none != 0 || got != want {
			t.Errorf("postgres and %s: %d and %d are left out, want none and %d", right, none, got, want)
		}
	}
}

func sum(counts map[string]int64) (n int64) {
	for _, k := range counts {
		n += k
	}
	return n
}

// A request that fails leaves a part unverified: it is no difference.
func TestConversationsThatIntercomDoesNotGiveAreUnverified(t *testing.T) {
	t.Parallel()
	b := newBench(t, diffWorkspace)
	b.connect()
	b.must([]string{"backfill"})
	ids := slices.Sorted(b.sim.Ledger().IDs(intercomtest.Conversations))
	b.sql("DELETE FROM public.knowledge WHERE source_id = '"+ids[5]+"'", "DELETE FROM public.transcripts WHERE source_id = '"+ids[5]+"'")
	if err := b.sim.SetFaults(
		intercomtest.Fault{Kind: intercomtest.FaultServerError, Path: "GET /conversations/" + ids[2]},
		intercomtest.Fault{Kind: intercomtest.FaultServerError, Path: "GET /conversations/" + ids[5]},
	); err != nil {
		t.Fatal(err)
	}
	c := b.diff("intercom", "postgres", "--only", "conversations") // the other order: sinks/diff, which need not wait for retries
	if c.code != exitIncomplete || c.Verdict != diff.VerdictUnverified {
		t.Errorf("code %d, %s", c.code, c.Sentence)
	}
	unread := map[string]bool{}
	for _, f := range c.findings {
		if f.Class != diff.Unresolved || !strings.HasPrefix(f.Cause, "could not be read: ") {
			t.Errorf("%s %s is %s: %s", f.Entity, f.SourceID, f.Class, f.Cause)
		}
		unread[f.Entity+" "+f.SourceID] = true
	}
	for _, id := range []string{ids[2], ids[5]} {
		if !unread["transcripts "+id] {
			t.Errorf("nothing is said of %s", id)
		}
	}
}

// A contact that was merged away or deleted at Intercom, and is live in the database still, differs in whichever order the sides are
// named, and against a snapshot that has word of it.
func TestWhatIsGoneAtIntercomAndLiveInTheDatabaseDiffersInBothOrders(t *testing.T) {
	t.Parallel()
	b := newBench(t, diffWorkspace)
	b.connect()
	dir := t.TempDir()
	b.must([]string{"backfill", "--snapshot", dir})
	// Contacts with a row of their own, and no conversation or ticket that would name the survivor from then on.
	free := scalar[[]string](b, `SELECT array_agg(u.source_id ORDER BY u.source_id) FROM public.end_users u WHERE role = $1 AND email IS NOT NULL
		AND (SELECT count(*) FROM ingest.id_map m WHERE m.row_id = u.id) = 1
		AND NOT EXISTS (SELECT 1 FROM public.transcripts t WHERE t.end_user_id = u.id) AND NOT EXISTS (SELECT 1 FROM public.tickets x WHERE x.end_user_id = u.id)`, "lead")
	survivor := scalar[string](b, `SELECT source_id FROM public.end_users WHERE role = $1 ORDER BY source_id LIMIT 1`, "user")
	if len(free) < 2 {
		t.Fatalf("the workspace has %d leads that nobody refers to", len(free))
	}
	merged, deleted := free[0], free[1]
	if err := b.sim.MergeContacts(merged, survivor); err != nil {
		t.Fatal(err)
	}
	if err := b.sim.Delete(intercomtest.Contacts, deleted); err != nil {
		t.Fatal(err)
	}
	// The snapshot hears of it, the database forgets it.
	b.must([]string{"backfill", "--restart", "--snapshot", dir})
	b.sql("UPDATE public.end_users SET deleted_at = NULL WHERE source_id IN ('"+merged+"', '"+deleted+"')",
		"DELETE FROM ingest.tombstones WHERE source_id IN ('"+merged+"', '"+deleted+"')",
		"UPDATE ingest.id_map m SET deleted_at = NULL, merged_into = NULL, reason = 'created', row_id = u.id FROM public.end_users u WHERE m.source_id = u.source_id AND m.source_id IN ('"+merged+"', '"+deleted+"')")
	for class, pairs := range map[string][][2]string{
		"extra":   {{"intercom", "postgres"}, {"snapshot:" + dir, "postgres"}},
		"missing": {{"postgres", "intercom"}, {"postgres", "snapshot:" + dir}},
	} {
		want := map[string]string{"end_users " + merged + " " + class: "", "end_users " + deleted + " " + class: ""}
		for _, sides := range pairs {
			c := b.diff(sides[0], sides[1], "--only", "contacts")
			got := c.faults()
			delete(got, "end_users "+survivor+" changed") // a merge gives the survivor a new state
			if d := cmp.Diff(want, got); d != "" || c.code != exitDiffers {
				t.Errorf("%v, code %d, %s (-want +found):\n%s", sides, c.code, c.Sentence, d)
			}
		}
	}
}
