package replay

import (
	"errors"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

func day(n int) time.Time { return time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC) }

// manifest is of a run that began at day began and read what changed from day since (0: all) up to day to (0: it is of no complete read).
func manifest(began, since, to int) *snapshot.Run {
	m := parquet.Manifest{StartedAt: day(began), Complete: to > 0, Reference: &record.Reference{Workspace: record.Workspace{ID: "w"}}}
	if since > 0 {
		m.Since = day(since)
	}
	if to > 0 {
		m.SyncedTo = day(to)
	}
	return &snapshot.Run{Manifest: m}
}

func TestTheBookmarkGoesAsFarAsChangesAreKnownWithoutAGap(t *testing.T) {
	connected := func(n int) *connection.Connection {
		c := &connection.Connection{Workspace: record.Workspace{ID: "w"}}
		if n > 0 {
			c.SyncedTo = day(n)
		}
		return c
	}
	stranger := &connection.Connection{Workspace: record.Workspace{ID: "v"}}
	for _, tt := range []struct {
		name string
		runs []*snapshot.Run
		conn *connection.Connection
		want int // 0: it does not move
	}{
		{"a backfill", []*snapshot.Run{manifest(1, 0, 1)}, connected(0), 1},
		{"a backfill and syncs", []*snapshot.Run{manifest(1, 0, 1), manifest(2, 1, 2), manifest(3, 2, 3)}, connected(0), 3},
		{"a sync that is missing", []*snapshot.Run{manifest(1, 0, 1), manifest(3, 2, 3)}, connected(0), 1},
		{"a sync that is missing, which the connection has made", []*snapshot.Run{manifest(1, 0, 1), manifest(3, 2, 3)}, connected(2), 3},
		{"syncs alone", []*snapshot.Run{manifest(2, 1, 2)}, connected(0), 0},
		{"syncs alone, on what is there", []*snapshot.Run{manifest(2, 1, 2)}, connected(1), 2},
		{"an unfinished backfill", []*snapshot.Run{manifest(1, 0, 0)}, connected(0), 0},
		{"an unfinished backfill between syncs", []*snapshot.Run{manifest(1, 0, 1), manifest(2, 0, 0), manifest(3, 1, 3)}, connected(0), 3},
		{"a connection that is ahead", []*snapshot.Run{manifest(1, 0, 1), manifest(2, 1, 2)}, connected(5), 0},
		{"no connection", []*snapshot.Run{manifest(1, 0, 1), manifest(2, 1, 2)}, nil, 2},
		{"another workspace", []*snapshot.Run{manifest(1, 0, 1)}, stranger, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := time.Time{}
			if tt.want > 0 {
				want = day(tt.want)
			}
			s := &snapshot.Snapshot{Runs: tt.runs}
			of, err := workspace(s)
			if err != nil {
				t.Fatal(err)
			}
			if got := bookmark(s, tt.conn, of); !got.Equal(want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestRowsThatWereMadeByOtherFieldsAreRefused(t *testing.T) {
	run := manifest(1, 0, 1)
	run.Mapping = map[string]string{parquet.MappingUserIDField: "external_id", parquet.MappingCompanyIDField: "company_id"}
	s := &snapshot.Snapshot{Runs: []*snapshot.Run{run}}
	same := &connection.Connection{UserIDField: "external_id", CompanyIDField: "company_id"}
	other := &connection.Connection{UserIDField: "external_id", CompanyIDField: "name"}
	if err := (&Runner{Snapshot: s}).sameMapping(); err != nil {
		t.Errorf("no connection: %v", err)
	}
	if err := (&Runner{Snapshot: s, Connection: same}).sameMapping(); err != nil {
		t.Errorf("the same fields: %v", err)
	}
	var mixed *MappingError
	if err := (&Runner{Snapshot: s, Connection: other}).sameMapping(); !errors.As(err, &mixed) || mixed.Setting != "company_id_field" {
		t.Errorf("other fields: %v", err)
	}
}

// What is there already, in the order of runs, streams and segments, decides how a state stands to the last reject of its object.
func TestPositionsAreInTheOrderOfLoading(t *testing.T) {
	list := []position{{0, 0, 5}, {0, 1, 0}, {0, 1, 2}, {1, 0, 0}}
	for i, a := range list {
		for j, b := range list {
			if a.after(b) != (i > j) {
				t.Errorf("%v after %v: %v", a, b, a.after(b))
			}
		}
	}
	r := &Run{refusals: refusals{object{"contact", "1"}: {0, 1, 2}}}
	for _, tt := range []struct {
		at    position
		remap bool
		id    string
		among bool
		order int
	}{
		{position{0, 1, 1}, false, "1", true, -1}, {position{0, 1, 2}, false, "1", true, 0}, {position{1, 0, 0}, false, "1", true, 1},
		{position{0, 1, 2}, true, "1", true, 1}, {position{0, 1, 1}, true, "1", true, -1}, {position{0, 0, 0}, false, "2", false, 0},
	} {
		r.request.Remap = tt.remap
		among, order := (&again{run: r, at: tt.at}).rejected("contact", tt.id)
		if among != tt.among || among && order != tt.order {
			t.Errorf("%+v: %v %d", tt, among, order)
		}
	}
}
