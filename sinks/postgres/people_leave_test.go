package postgres

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

// person is a contact of which every value says whose it is.
func person(id string, n int, external, email, role, avatar string) record.Change {
	return contactChange(orgA, id, n, func(r *record.EndUserRow) {
		r.ExternalID, r.Email, r.Role, r.Avatar = external, email, role, avatar
		r.Context = json.RawMessage(`{"intercom_` + id + `":{"label":"Phone","type":"custom","value":"1"}}`)
	})
}

func TestARowIsMadeAnewFromThoseWhoStayWhenSomebodyLeavesIt(t *testing.T) {
	const row = `SELECT source_id, name, coalesce(avatar, '-'), (SELECT string_agg(key, ' ' ORDER BY key) FROM jsonb_object_keys(context) AS key)
		FROM end_users e WHERE id = (SELECT row_id FROM ingest.id_map WHERE source_id = 'a')`
	// Two users have one external id, and a lead has the address of one of them. The row never shows the lead, but has its picture.
	a, b := person("a", 1, "x1", "m1@x.org", "user", ""), person("b", 2, "x1", "", "user", "")
	lead := person("c", 3, "", "m1@x.org", "lead", "c.png")
	for _, tt := range []struct {
		name   string
		leaves record.Change
		stay   []record.Change
		want   []string
	}{
		{"two stay", person("c", 4, "x3", "m1@x.org", "lead", "c.png"), []record.Change{a, b}, []string{`(b,"b v2",-,"intercom_a intercom_b")`}},
		{"two stay, the one that shows comes first", person("c", 4, "x3", "m1@x.org", "lead", "c.png"), []record.Change{b, a}, []string{`(b,"b v2",-,"intercom_a intercom_b")`}},
		{"it was merged away", mergedChange("c", "d", 5), []record.Change{a, b}, []string{`(b,"b v2",-,"intercom_a intercom_b")`}},
		{"it was deleted", goneChange(record.KindContact, "c", 5), []record.Change{a, b}, []string{`(b,"b v2",-,"intercom_a intercom_b")`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, batches := range []bool{true, false} {
				x := newLoading(t)
				x.commit(person("d", 1, "x9", "", "user", ""))
				x.commit(a, b, lead)
				if got := x.table(row); cmp.Diff([]string{`(b,"b v2",c.png,"intercom_a intercom_b intercom_c")`}, got) != "" {
					t.Fatalf("while they share it: %v", got)
				}
				all := append([]record.Change{tt.leaves}, tt.stay...)
				if batches {
					for _, c := range all {
						x.commit(c)
					}
				} else {
					x.commit(all...)
				}
				if diff := cmp.Diff(tt.want, x.table(row)); diff != "" {
					t.Errorf("in batches of one: %v; row (-want +got):\n%s", batches, diff)
				}
				wantCounts(t, "a second time", x.commit(tt.stay...), map[string]int64{"load/end_users/equal": int64(len(tt.stay))})
			}
		})
	}
}

func TestOneThatStaysAloneHasItsRowToItself(t *testing.T) {
	x := newLoading(t)
	a := person("a", 2, "x1", "m1@x.org", "user", "")
	x.commit(a, person("c", 1, "", "m1@x.org", "lead", "c.png"))
	x.commit(person("c", 3, "x3", "m1@x.org", "lead", "c.png"))
	x.commit(a)
	got := x.table(`SELECT source_id, external_id, coalesce(avatar, '-') FROM end_users ORDER BY source_id`)
	if diff := cmp.Diff([]string{`(a,x1,-)`, `(c,x3,c.png)`}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// The id of a contact's own row may be taken, and the next one, too.
func TestAContactThatHasHadSeveralRowsGetsOneAgain(t *testing.T) {
	x := newLoading(t)
	x.native(1, "x9", "")
	x.commit(person("a", 1, "", "m1@x.org", "lead", ""))
	x.commit(person("b", 2, "x1", "m1@x.org", "user", "")) // on a's row
	x.commit(person("a", 3, "x2", "m1@x.org", "lead", "")) // to a second row
	x.commit(person("a", 4, "x9", "", "lead", ""))         // to Halo's, whose external id it is
	counts := x.commit(person("a", 5, "x10", "", "lead", ""))
	if counts["load/end_users/rejected"] > 0 {
		t.Errorf("counts: %v", counts)
	}
	second := record.RowID(orgA, record.KindContact, "a#2")
	got := x.table(`SELECT external_id, source_id, deleted_at IS NULL, (SELECT row_id = e.id FROM ingest.id_map WHERE source_id = 'a') FROM end_users e WHERE id = $1`, second)
	if diff := cmp.Diff([]string{`(x10,a,t,t)`}, got); diff != "" {
		t.Errorf("its second row (-want +got):\n%s", diff)
	}
	if got := x.table(`SELECT count(*) FROM end_users`); got[0] != "(3)" {
		t.Errorf("rows: %v", got)
	}
}

func TestARowOfHalosOwnNamesNobodyThatHasLeftIt(t *testing.T) {
	const row = `SELECT external_id, source_id, source_updated_at, content_hash IS NULL, deleted_at, name FROM end_users WHERE id = $1`
	for name, leave := range map[string][]record.Change{
		"for another external id": {person("a", 3, "x2", "", "user", "")},
		"for its survivor":        {person("b", 1, "x5", "", "user", ""), mergedChange("a", "b", 4)},
	} {
		t.Run(name, func(t *testing.T) {
			x := newLoading(t)
			id := x.native(1, "x1", "")
			x.commit(person("a", 2, "x1", "", "user", ""))
			x.commit(leave...)
			if diff := cmp.Diff([]string{`(x1,,,t,,"a v2")`}, x.table(row, id)); diff != "" {
				t.Errorf("row (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("while others stay", func(t *testing.T) {
		x := newLoading(t)
		id := x.native(1, "x1", "")
		lead := person("c", 1, "x1", "", "lead", "")
		x.commit(lead, person("a", 2, "x1", "", "user", ""))
		x.commit(person("a", 3, "x2", "", "user", ""))
		if diff := cmp.Diff([]string{`(x1,c,"2024-01-01 00:00:01+00",t,,"a v2")`}, x.table(row, id)); diff != "" {
			t.Errorf("row (-want +got):\n%s", diff)
		}
		x.commit(lead)
		if diff := cmp.Diff([]string{`(x1,c,"2024-01-01 00:00:01+00",f,,"c v1")`}, x.table(row, id)); diff != "" {
			t.Errorf("row after the one that stays was read again (-want +got):\n%s", diff)
		}
	})
}

// Whoever leaves last takes the name off, whosever it is.
func TestARowOfHalosOwnNamesNobodyAlsoWhenTheOneItShowedHasGoneBefore(t *testing.T) {
	x := newLoading(t)
	id := x.native(1, "x1", "")
	x.commit(person("a", 2, "x1", "", "user", ""), person("c", 1, "x1", "", "lead", ""))
	x.commit(goneChange(record.KindContact, "c", 3))
	x.commit(person("a", 4, "x2", "", "user", ""))
	x.commit(person("c", 5, "x3", "", "lead", ""))
	if got := x.table(`SELECT external_id, source_id, content_hash IS NULL FROM end_users WHERE id = $1`, id); got[0] != "(x1,,t)" {
		t.Errorf("row: %v", got)
	}
}
