package dedupe_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
	"haloingest/pipeline/record"
	"haloingest/stages/dedupe"
)

var _ pipeline.Stage[record.Change, record.Change] = (*dedupe.Stage)(nil)

// state is one state of an object; its mark tells it from every other.
func state(kind record.Kind, id string, updated, fetched, rank int, mark string) record.Change {
	at := func(n int) time.Time { return time.Unix(int64(1000+n), 0).UTC() }
	return record.Change{
		Kind: kind, SourceID: id, Version: record.Version{UpdatedAt: at(updated), FetchedAt: at(fetched), Rank: rank},
		Ticket: &record.TicketRow{Subject: mark},
	}
}

func TestOfSeveralStatesTheNewestStays(t *testing.T) {
	const a, b = record.KindContact, record.KindCompany
	for _, c := range []struct {
		name       string
		in         []record.Change
		want       []string
		superseded int64
	}{
		{"nothing", nil, nil, 0},
		{"different objects stay in order", []record.Change{state(a, "2", 1, 1, 0, "x"), state(a, "1", 1, 1, 0, "y")}, []string{"x", "y"}, 0},
		{"one id of two kinds is two objects", []record.Change{state(a, "1", 1, 1, 0, "x"), state(b, "1", 2, 1, 0, "y")}, []string{"x", "y"}, 0},
		{"the newer state takes the place of the older", []record.Change{state(a, "1", 1, 1, 0, "old"), state(a, "2", 1, 1, 0, "x"), state(a, "1", 2, 1, 0, "new")}, []string{"new", "x"}, 1},
		{"an older state that comes later is left out", []record.Change{state(a, "1", 2, 1, 0, "new"), state(a, "1", 1, 9, 0, "old")}, []string{"new"}, 1},
		{"of one time of update the one fetched later wins", []record.Change{state(a, "1", 1, 2, 0, "later"), state(a, "1", 1, 1, 0, "sooner")}, []string{"later"}, 1},
		{"of one version a tombstone wins", []record.Change{state(a, "1", 1, 1, 1, "gone"), state(a, "1", 1, 1, 0, "there")}, []string{"gone"}, 1},
		{"of equal versions the later in the batch wins", []record.Change{state(a, "1", 1, 1, 0, "first"), state(a, "1", 1, 1, 0, "second")}, []string{"second"}, 1},
		{"three states of one object are one", []record.Change{state(a, "1", 2, 1, 0, "b"), state(a, "1", 3, 1, 0, "c"), state(a, "1", 1, 1, 0, "a")}, []string{"c"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, err := dedupe.New().Process(context.Background(), c.in)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range result.Items {
				got = append(got, i.Ticket.Subject)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if n := result.Counts[dedupe.Superseded]; n != c.superseded {
				t.Errorf("counted %d, want %d", n, c.superseded)
			}
		})
	}
}

func TestEveryObjectStaysOnceInItsNewestState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 30).Draw(t, "states")
		in := make([]record.Change, n)
		for i := range in {
			in[i] = state(rapid.SampledFrom(record.Kinds[:]).Draw(t, "kind"), fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "id")),
				rapid.IntRange(0, 3).Draw(t, "updated"), rapid.IntRange(0, 3).Draw(t, "fetched"), rapid.IntRange(0, 1).Draw(t, "rank"), fmt.Sprint(i))
		}
		// The oracle looks at every pair: a state stays if no other one of its object beats it.
		var want []string
		seen := map[string]bool{}
		for _, first := range in {
			object := string(first.Kind) + first.SourceID
			if seen[object] {
				continue
			}
			seen[object] = true
			for i, s := range in {
				beaten := string(s.Kind)+s.SourceID != object
				for j, other := range in {
					if other.Kind == s.Kind && other.SourceID == s.SourceID && (other.Version.Compare(s.Version) > 0 || other.Version == s.Version && j > i) {
						beaten = true
					}
				}
				if !beaten {
					want = append(want, s.Ticket.Subject)
				}
			}
		}
		result, err := dedupe.New().Process(context.Background(), append([]record.Change(nil), in...))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range result.Items {
			got = append(got, i.Ticket.Subject)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if int64(len(got))+result.Counts[dedupe.Superseded] != int64(n) {
			t.Fatalf("%d states became %d, %d counted", n, len(got), result.Counts[dedupe.Superseded])
		}
		again, err := dedupe.New().Process(context.Background(), result.Items)
		if err != nil || len(again.Items) != len(got) || len(again.Counts) > 0 {
			t.Fatalf("a second time: %d items, counts %v, %v", len(again.Items), again.Counts, err)
		}
	})
}

func TestTheStageKeepsThePromisesOfAStage(t *testing.T) {
	pipetest.CheckStage(t, dedupe.New(), func() []record.Change {
		return []record.Change{
			state(record.KindContact, "1", 1, 1, 0, "a"), state(record.KindContact, "1", 2, 1, 0, "b"), state(record.KindTicket, "1", 1, 1, 0, "c"),
			state(record.KindContact, "2", 1, 1, 1, "d"), state(record.KindTicket, "1", 1, 1, 0, "e"),
		}
	}, pipetest.WholeBatch())
}
