package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// again goes on with another run on the same database.
func (x *loading) again(kind string) *loading {
	x.tb.Helper()
	if err := x.run.Finish(x.tb.Context(), Outcome{State: RunComplete}); err != nil {
		x.tb.Fatal(err)
	}
	return loadingOn(x.tb, x.db, x.lease, kind)
}

func (x *loading) undo(list ...*loading) (UndoPlan, error) {
	var runs []record.UUID
	for _, y := range list {
		runs = append(runs, y.run.ID)
	}
	return x.db.Undo(x.tb.Context(), x.lease, runs, nil)
}

// mustUndo undoes the runs and wants the dump afterwards.
func (x *loading) mustUndo(want []string, list ...*loading) {
	x.tb.Helper()
	if _, err := x.undo(list...); err != nil {
		x.tb.Fatal(err)
	}
	if diff := cmp.Diff(want, x.dump()); diff != "" {
		x.tb.Fatalf("rows (-before +after the undo):\n%s", diff)
	}
}

func TestAnUndoSaysFirstWhatItWillDo(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	before := x.dump()
	y := x.again("second")
	y.commit(append(family(orgA, 2), contactChange(orgA, "c9", 1, nil), goneChange(record.KindTicket, "t1", 9))...)
	after := x.dump()
	want := UndoPlan{
		Tables: []UndoTable{{"companies", 0, 1, 0}, {"end_users", 1, 1, 0}, {"transcripts", 0, 1, 0}, {"tickets", 0, 1, 0}, {"knowledge", 0, 2, 0},
			{"id_map", 1, 2, 0}, {"tombstones", 1, 0, 0}, {"contact_companies", 0, 0, 0}, {"pending_links", 0, 0, 0}, {"rejects", 0, 0, 0}},
		Conflicts: []UndoConflict{}, References: []UndoReference{},
	}
	check := func(got UndoPlan) {
		t.Helper()
		if len(got.Runs) != 1 || got.Runs[0].ID != y.run.ID {
			t.Errorf("runs: %+v", got.Runs)
		}
		got.Runs = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("plan (-want +got):\n%s", diff)
		}
	}
	if _, err := x.db.PlanUndo(t.Context(), orgA, []record.UUID{y.run.ID}); !errors.Is(err, ErrNotUndoable) || !strings.Contains(err.Error(), "is running") {
		t.Errorf("a run that is running: %v", err)
	}
	if err := y.run.Finish(t.Context(), Outcome{State: RunComplete}); err != nil {
		t.Fatal(err)
	}
	plan, err := x.db.PlanUndo(t.Context(), orgA, []record.UUID{y.run.ID})
	if err != nil {
		t.Fatal(err)
	}
	check(plan)
	no := errors.New("no")
	_, err = x.db.Undo(t.Context(), x.lease, []record.UUID{y.run.ID}, func(p UndoPlan) error { check(p); return no })
	if !errors.Is(err, no) {
		t.Errorf("an undo that was stopped: %v", err)
	}
	if diff := cmp.Diff(after, x.dump()); diff != "" {
		t.Errorf("a plan changed rows (-before +after):\n%s", diff)
	}
	x.mustUndo(before, y)
	info, err := x.db.RunInfo(t.Context(), orgA, y.run.ID.String())
	if err != nil || info.UndoneAt.IsZero() || info.State != RunComplete {
		t.Errorf("the run: %+v, error %v", info, err)
	}
	for name, runs := range map[string][]record.UUID{"an undone run": {y.run.ID}, "an unknown run": {{1}}, "an undone one among others": {x.run.ID, y.run.ID}} {
		if _, err := x.db.Undo(t.Context(), x.lease, runs, nil); !errors.Is(err, ErrNotUndoable) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARunIsNotUndoneWhileALaterOneIsInTheWay(t *testing.T) {
	tests := map[string]struct {
		first, later []record.Change
		rows         int64
	}{
		"it changed a row that the run made":     {family(orgA, 1), []record.Change{contactChange(orgA, "c1", 5, nil)}, 6}, // the row, its binding, and what lost its company
		"it deleted knowledge that the run made": {family(orgA, 1), []record.Change{goneChange(record.KindConversation, "v1", 9)}, 3},
		"it refers to a row that the run made":   {[]record.Change{contactChange(orgA, "c1", 1, nil)}, []record.Change{conversationChange(orgA, "v7", "c1", 1, []string{"a"}, nil)}, 2},
		"it bound a contact to a row that the run made": {
			[]record.Change{contactChange(orgA, "c1", 1, func(r *record.EndUserRow) { r.Email = "a@x.org" })},
			[]record.Change{contactChange(orgA, "c2", 2, func(r *record.EndUserRow) { r.Email = "a@x.org" })}, 1},
		"it linked a row that the run made": {[]record.Change{conversationChange(orgA, "v7", "c1", 1, []string{"a"}, nil)}, []record.Change{contactChange(orgA, "c1", 1, nil)}, 3},
	}
	db := newDB(t)
	lease := acquire(t, db, orgA)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := loadingOn(t, db, lease, "first")
			empty := x.dump()
			x.commit(test.first...)
			between := x.dump()
			y := x.again("later")
			y.commit(test.later...)
			if err := y.run.Finish(t.Context(), Outcome{State: RunComplete}); err != nil {
				t.Fatal(err)
			}
			all := x.dump()
			plan, err := x.undo(x)
			if !errors.Is(err, ErrNotUndoable) || !strings.Contains(err.Error(), y.run.ID.String()) {
				t.Fatalf("error: %v", err)
			}
			if len(plan.Conflicts) != 1 || plan.Conflicts[0].Run.ID != y.run.ID || plan.Conflicts[0].Rows != test.rows {
				t.Errorf("conflicts: %+v, want %d rows", plan.Conflicts, test.rows)
			}
			if diff := cmp.Diff(all, x.dump()); diff != "" {
				t.Errorf("rows (-before +after the refusal):\n%s", diff)
			}
			if len(name)%2 == 0 {
				x.mustUndo(empty, x, y)
				return
			}
			x.mustUndo(between, y)
			x.mustUndo(empty, x)
		})
	}
}

func TestALaterRunOverOtherRowsIsNotInTheWayAndTheBookmarkGoesBack(t *testing.T) {
	x := newLoading(t)
	x.exec(`INSERT INTO ingest.connections (org_id, region, workspace_id) VALUES ($1, 'us', 'w')`, orgA)
	empty := x.dump()
	x.commit(family(orgA, 1)...)
	if err := x.run.Finish(t.Context(), Outcome{State: RunComplete, SyncedTo: at(1)}); err != nil {
		t.Fatal(err)
	}
	y := loadingOn(t, x.db, x.lease, "later")
	y.commit(contactChange(orgA, "other", 1, nil))
	if err := y.run.Finish(t.Context(), Outcome{State: RunComplete, SyncedTo: at(2)}); err != nil {
		t.Fatal(err)
	}
	if _, err := x.undo(x); err != nil {
		t.Fatal(err)
	}
	if got := x.table(`SELECT last_synced_at, synced_to FROM ingest.connections`); got[0] != "(,)" {
		t.Errorf("bookmark: %v", got)
	}
	x.mustUndo(empty, y)
}

func TestRowsOfHalosOwnThatReferToWhatWouldGoKeepARunFromBeingUndone(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	x.again("next")
	all := x.dump()
	x.exec(`INSERT INTO tickets (org_id, id, end_user_id) SELECT org_id, gen_random_uuid(), id FROM end_users`)
	plan, err := x.undo(x)
	if diff := cmp.Diff([]UndoReference{{"tickets", 1}}, plan.References); !errors.Is(err, ErrNotUndoable) || diff != "" {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	x.exec(`DELETE FROM tickets WHERE source_id IS NULL`)
	x.exec(`CREATE TABLE public.sessions (id int, org_id uuid, end_user_id uuid, FOREIGN KEY (org_id, end_user_id) REFERENCES end_users (org_id, id))`)
	x.exec(`INSERT INTO public.sessions SELECT 1, org_id, id FROM end_users`)
	if _, err := x.undo(x); !errors.Is(err, ErrNotUndoable) {
		t.Errorf("a foreign key: %v", err)
	}
	if diff := cmp.Diff(all, x.dump()); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
}

func TestARowThatIsSharedWithHaloIsRestoredAndNotRemoved(t *testing.T) {
	x := newLoading(t)
	x.exec(`INSERT INTO end_users (org_id, id, external_id, name, custom_fields) VALUES ($1, '11111111-1111-1111-1111-111111111111', 'u1', 'Halo''s', '{"own": 1}')`, orgA)
	x.exec(`CREATE TABLE public.sessions (org_id uuid, end_user_id uuid, FOREIGN KEY (org_id, end_user_id) REFERENCES end_users (org_id, id))`)
	x.exec(`INSERT INTO public.sessions SELECT org_id, id FROM end_users`)
	before := x.dump()
	x.commit(family(orgA, 1)...)
	x.again("next")
	x.mustUndo(before, x)
}

func TestExternalIDsThatHaveChangedPlacesAreRestored(t *testing.T) {
	x := newLoading(t)
	named := func(id, external string, n int) record.Change {
		return contactChange(orgA, id, n, func(r *record.EndUserRow) { r.ExternalID = external })
	}
	x.commit(named("a", "x1", 1), named("b", "x2", 1), named("c", "x3", 1))
	before := x.dump()
	y := x.again("second")
	y.commit(named("a", "x9", 2), named("b", "x1", 2), named("c", "x2", 2))
	y.again("third")
	x.mustUndo(before, y)
}

func TestKnowledgeThatWaitedWithADeletedConversationWaitsAgain(t *testing.T) {
	x := newLoading(t)
	x.commit(conversationChange(orgA, "v1", "missing", 1, []string{"a"}, nil))
	before := x.dump()
	y := x.again("second")
	y.commit(goneChange(record.KindConversation, "v1", 5))
	y.again("third")
	x.mustUndo(before, y)
}

// A run that was interrupted goes on after another one has changed its rows, so neither is wholly later.
func TestRunsThatAreInterleavedAreUndoneTogether(t *testing.T) {
	x := newLoading(t)
	empty := x.dump()
	v := func(n int, texts ...string) record.Change { return conversationChange(orgA, "v1", "c1", n, texts, nil) }
	x.commit(contactChange(orgA, "c1", 1, nil), v(1, "one", "two"))
	if err := x.run.Finish(t.Context(), Outcome{State: RunInterrupted}); err != nil {
		t.Fatal(err)
	}
	y := loadingOn(t, x.db, x.lease, "between")
	y.commit(v(2, "one"), contactChange(orgA, "c2", 1, nil))
	if err := y.run.Finish(t.Context(), Outcome{State: RunComplete}); err != nil {
		t.Fatal(err)
	}
	resumed, err := x.db.StartRun(t.Context(), x.lease, RunSpec{Kind: "test all"})
	if err != nil || resumed.ID != x.run.ID {
		t.Fatalf("resumed %+v, error %v", resumed, err)
	}
	x.commit(v(3, "one", "two"))
	if err := resumed.Finish(t.Context(), Outcome{State: RunInterrupted}); err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]*loading{"the earlier": x, "the one between": y} {
		if _, err := x.undo(one); !errors.Is(err, ErrNotUndoable) {
			t.Errorf("%s alone: %v", name, err)
		}
	}
	x.mustUndo(empty, x, y)
	if next := startRun(t, x.lease, RunSpec{Kind: "test all"}); next.Resumed {
		t.Error("a run that was undone is resumed")
	}
}

func TestAnUndoThatIsCutOffLeavesEverythingOrNothing(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	before := x.dump()
	y := x.again("second")
	y.commit(family(orgA, 2)...)
	y.again("third")
	after := x.dump()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := x.db.Undo(ctx, x.lease, []record.UUID{y.run.ID}, func(UndoPlan) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled undo: %v", err)
	}
	if diff := cmp.Diff(after, x.dump()); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	// A session that dies is a passing matter: the undo is made again.
	_, err = x.db.Undo(t.Context(), x.lease, []record.UUID{y.run.ID}, func(UndoPlan) error {
		x.exec(`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::bigint::oid`, int64(uint64(linkLock(orgA))>>32))
		return nil
	})
	if diff := cmp.Diff(before, x.dump()); err != nil || diff != "" {
		t.Errorf("error %v, rows (-before the run +after the undo):\n%s", err, diff)
	}
}

func TestAnUndoWhoseLeaseWasTakenOverChangesNothing(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	x.again("second")
	after := x.dump()
	x.exec(`UPDATE ingest.leases SET epoch = epoch + 1`)
	if _, err := x.undo(x); !errors.Is(err, ErrFenced) {
		t.Errorf("error: %v", err)
	}
	if diff := cmp.Diff(after, x.dump()); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
}

func TestImagesAreWrittenForWhatChangesOnlyAndKeptForTheNewestRuns(t *testing.T) {
	x := newLoading(t)
	images := func() string {
		return fmt.Sprint(x.table(`SELECT table_name, count(*) FROM ingest.before_images GROUP BY 1 ORDER BY 1`))
	}
	// The customer comes after what refers to it, so that links are repaired within the run.
	x.commit(conversationChange(orgA, "v2", "c1", 1, []string{"waits"}, nil), ticketChange(orgA, "t2", "c1", 1, nil))
	x.commit(family(orgA, 1)...)
	x.commit(family(orgA, 2)...)
	if got := images(); got != "[]" {
		t.Errorf("images of a first run: %s", got)
	}
	y := x.again("second")
	y.commit(family(orgA, 2)...)
	if got := images(); got != "[]" {
		t.Errorf("images of a run without changes: %s", got)
	}
	y.commit(contactChange(orgA, "c1", 9, func(r *record.EndUserRow) { r.ExternalID, r.Email, r.Companies = "u1", "A@x.org ", []string{"co1"} }))
	if got := images(); got != "[(end_users,1) (id_map,1)]" {
		t.Errorf("images of one changed contact: %s", got)
	}
	for range keptRuns {
		y = y.again("more")
	}
	if err := y.run.Finish(t.Context(), Outcome{State: RunComplete}); err != nil {
		t.Fatal(err)
	}
	if got := images(); got != "[]" {
		t.Errorf("images after %d runs: %s", keptRuns, got)
	}
	if _, err := x.undo(x); !errors.Is(err, ErrNotUndoable) || !strings.Contains(err.Error(), "not kept") {
		t.Errorf("the first run: %v", err)
	}
}

func TestARowThatSomebodyHasDeletedSinceStaysDeleted(t *testing.T) {
	x := newLoading(t)
	x.commit(family(orgA, 1)...)
	y := x.again("second")
	y.commit(family(orgA, 2)...)
	y.again("third")
	x.exec(`DELETE FROM tickets`)
	plan, err := x.undo(y)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range plan.Tables {
		if table.Lost != 0 && table != (UndoTable{Table: "tickets", Lost: 1}) {
			t.Errorf("plan: %+v", table)
		}
	}
	if got := x.table(`SELECT count(*) FROM tickets`); got[0] != "(0)" {
		t.Errorf("tickets: %v", got)
	}
}

func TestARejectIsAsItWasBeforeTheRunThatResolvedIt(t *testing.T) {
	x := newLoading(t)
	bad := contactChange(orgA, "c1", 1, func(r *record.EndUserRow) { r.Name = "\x00" })
	x.commit(bad)
	before := x.dump()
	y := x.again("second")
	y.commit(contactChange(orgA, "c1", 2, nil))
	y.commit(contactChange(orgA, "c1", 3, func(r *record.EndUserRow) { r.Name = "\x00" }))
	y.again("third")
	x.mustUndo(before, y)
	z := loadingOn(t, x.db, x.lease, "fourth")
	if err := z.sink.Commit(t.Context(), pipeline.Batch[record.Change]{Items: []record.Change{bad}}); err != nil {
		t.Fatal(err)
	}
	z.again("fifth")
	if got := x.table(`SELECT times FROM ingest.rejects`); got[0] != "(2)" {
		t.Errorf("times: %v", got)
	}
	x.mustUndo(before, z)
}
