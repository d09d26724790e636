package record

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRowIDsAreVersion5UUIDsOfTheirName(t *testing.T) {
	// The example of RFC 9562, appendix A.4: www.example.com in the DNS namespace.
	dns, err := ParseUUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := nameUUID(dns, "www.example.com").String(), "2ed6657d-e927-568b-95e1-2665a8aea6a2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Ids are in databases: this one must never change.
	if got, want := RowID(dns, KindContact, "42").String(), nameUUID(dns, "intercom:contact:42").String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	seen := map[UUID]bool{}
	for _, org := range []UUID{{1}, {2}} {
		for _, k := range Kinds {
			for _, id := range []string{"1", "2", "12", ""} {
				seen[RowID(org, k, id)] = true
			}
		}
	}
	if len(seen) != 2*4*4 {
		t.Errorf("%d different ids for 32 objects", len(seen))
	}
}

func TestUUIDsReadWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		for _, s := range []string{u.String(), strings.ToUpper(u.String())} {
			if got, err := ParseUUID(s); err != nil || got != u {
				t.Fatalf("%s read as %s, %v", s, got, err)
			}
		}
	})
	for _, bad := range []string{"", "x", "6ba7b8109dad11d180b400c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430cg", "6ba7b810-9dad-11d1-80b4-00c04fd430c88", "6ba7b8-109dad-11d1-80b4-00c04fd430c8-"} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestVersionsAreInOneOrder(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) Version {
		return Version{
			UpdatedAt: time.Unix(rapid.Int64Range(0, 2).Draw(t, "updated"), 0),
			FetchedAt: time.Unix(rapid.Int64Range(0, 2).Draw(t, "fetched"), 0),
			Rank:      rapid.IntRange(0, 1).Draw(t, "rank"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := draw.Draw(t, "a"), draw.Draw(t, "b"), draw.Draw(t, "c")
		if a.Compare(b) != -b.Compare(a) {
			t.Fatalf("%v and %v: %d and %d", a, b, a.Compare(b), b.Compare(a))
		}
		if (a.Compare(b) == 0) != (a == b) {
			t.Fatalf("%v and %v compare %d", a, b, a.Compare(b))
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatalf("%v <= %v <= %v, but not the first and last", a, b, c)
		}
		if a.UpdatedAt.Before(b.UpdatedAt) && a.Compare(b) != -1 {
			t.Fatalf("%v is updated before %v and does not come before it", a, b)
		}
	})
}

func TestATombstoneOfOneInstantWinsOverTheStateItEnds(t *testing.T) {
	at := time.Unix(1000, 0)
	state, gone := Version{UpdatedAt: at, FetchedAt: at}, Version{UpdatedAt: at, FetchedAt: at, Rank: 1}
	if state.Compare(gone) != -1 {
		t.Error("the state wins")
	}
	if gone.Compare(Version{UpdatedAt: at.Add(time.Second), FetchedAt: at}) != -1 {
		t.Error("the tombstone wins over a newer state")
	}
}

func TestATombstoneEndsWhatWasBeforeItAndWhatWasReadBeforeIt(t *testing.T) {
	version := func(updated, fetched, rank int) Version {
		return Version{UpdatedAt: time.Unix(int64(updated), 0), FetchedAt: time.Unix(int64(fetched), 0), Rank: rank}
	}
	gone := Change{Version: version(10, 20, 1), Gone: &Tombstone{}}
	for _, c := range []struct {
		updated, fetched int
		ends             bool
	}{
		{9, 19, true}, {9, 20, true}, {9, 21, true}, // it changed before it went; the last is late
		{10, 20, true}, {10, 21, false},
		{11, 19, true}, {11, 20, true}, // dated ahead, but read before it was found gone
		{11, 21, false},
	} {
		state := Change{Version: version(c.updated, c.fetched, 0)}
		if got := gone.Version.Ends(state.Version); got != c.ends || gone.Supersedes(&state) != c.ends || state.Supersedes(&gone) == c.ends {
			t.Errorf("changed at %d and read at %d: ended %t, superseded by it %t, supersedes it %t", c.updated, c.fetched, got, gone.Supersedes(&state), state.Supersedes(&gone))
		}
	}
}

func TestEmailsAreComparedWithoutCaseAndOuterBlanks(t *testing.T) {
	if got := EmailKey("  Ann@Example.COM\t"); got != "ann@example.com" {
		t.Errorf("got %q", got)
	}
}

func TestStreamsAndTables(t *testing.T) {
	want := map[Kind][2]string{
		KindContact: {"contacts", "end_users"}, KindCompany: {"companies", "companies"},
		KindConversation: {"conversations", "transcripts"}, KindTicket: {"tickets", "tickets"},
	}
	for _, k := range Kinds {
		if got := [2]string{k.Stream(), k.Table()}; got != want[k] {
			t.Errorf("%s: got %v, want %v", k, got, want[k])
		}
	}
}
