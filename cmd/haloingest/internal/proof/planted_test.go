package proof

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"haloingest/sinks/diff"
)

// plants are faults that no loader makes, each with the statement that makes it on one row and returns whose row it is, the columns of which at
// least one has to be named, and the entities that may be found beside it because they hang on the row.
var plants = []struct {
	name, entity, sql string
	class             diff.Class
	columns           []string
	beside            []string
}{
	{"a name on a row of its own or a shared one", "end_users", `UPDATE end_users SET name = 'tampered' WHERE id = (SELECT m.row_id FROM ingest.id_map m JOIN end_users e ON e.id = m.row_id
		AND e.source_id = m.source_id WHERE m.deleted_at IS NULL AND e.deleted_at IS NULL AND e.content_hash = m.content_hash AND e.name IS NOT NULL AND m.kind = 'contact' ORDER BY m.source_id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"name"}, nil},
	{"the company of an end user", "end_users", `UPDATE end_users SET company_id = gen_random_uuid() WHERE id = (SELECT m.row_id FROM ingest.id_map m JOIN end_users e ON e.id = m.row_id
		AND e.source_id = m.source_id WHERE m.deleted_at IS NULL AND e.deleted_at IS NULL AND NOT m.native AND m.kind = 'contact' AND m.content_hash = e.content_hash ORDER BY m.source_id DESC LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"company_id"}, []string{"transcripts", "tickets", "knowledge"}},
	{"a custom field taken away", "end_users", `UPDATE end_users SET custom_fields = '{}' WHERE id = (SELECT m.row_id FROM ingest.id_map m JOIN end_users e ON e.id = m.row_id AND e.source_id = m.source_id
		WHERE m.deleted_at IS NULL AND e.deleted_at IS NULL AND NOT m.native AND m.kind = 'contact' AND m.content_hash = e.content_hash AND e.custom_fields ? 'plan'
			AND NOT EXISTS (SELECT FROM ingest.id_map o WHERE o.row_id = m.row_id AND o.source_id <> m.source_id) ORDER BY m.source_id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"custom_fields", ""}, nil},
	{"an end user's row deleted", "end_users", `DELETE FROM end_users WHERE id = (SELECT m.row_id FROM ingest.id_map m JOIN end_users e ON e.id = m.row_id AND e.source_id = m.source_id WHERE m.deleted_at IS NULL AND e.deleted_at IS NULL
		AND m.kind = 'contact' AND NOT EXISTS (SELECT FROM ingest.id_map o WHERE o.row_id = m.row_id AND o.source_id <> m.source_id) ORDER BY m.source_id LIMIT 1) RETURNING source_id`,
		diff.Missing, nil, []string{"transcripts", "tickets", "knowledge"}},
	{"an end user marked as deleted", "end_users", `UPDATE end_users SET deleted_at = now() WHERE id = (SELECT m.row_id FROM ingest.id_map m JOIN end_users e ON e.id = m.row_id AND e.source_id = m.source_id WHERE m.deleted_at IS NULL AND e.deleted_at IS NULL
		AND m.kind = 'contact' AND NOT m.native AND NOT EXISTS (SELECT FROM ingest.id_map o WHERE o.row_id = m.row_id AND o.source_id <> m.source_id) ORDER BY m.source_id LIMIT 1) RETURNING source_id`,
		diff.Missing, nil, nil},
	{"an end user added", "end_users", `INSERT INTO end_users (org_id, id, source_id, source) SELECT org_id, gen_random_uuid(), 'added', 'intercom' FROM ingest.id_map LIMIT 1 RETURNING source_id`,
		diff.Extra, nil, nil},
	{"a transcript of somebody else", "transcripts", `UPDATE transcripts SET end_user_id = gen_random_uuid() WHERE id = (SELECT id FROM transcripts WHERE deleted_at IS NULL AND source_id IS NOT NULL ORDER BY source_id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"end_user_id"}, []string{"knowledge"}},
	{"a transcript without its end user", "transcripts", `UPDATE transcripts SET end_user_id = NULL WHERE id = (SELECT id FROM transcripts WHERE deleted_at IS NULL AND end_user_id IS NOT NULL ORDER BY source_id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"end_user_id"}, []string{"knowledge"}},
	{"a message", "transcripts", `UPDATE transcripts SET messages = jsonb_set(messages, '{0,text}', '"tampered"') WHERE id = (SELECT id FROM transcripts WHERE deleted_at IS NULL ORDER BY source_id DESC LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"messages"}, nil},
	{"a ticket without its transcript", "tickets", `UPDATE tickets SET transcript_id = NULL WHERE id = (SELECT id FROM tickets WHERE deleted_at IS NULL AND transcript_id IS NOT NULL ORDER BY source_id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"source_conversation_id", "transcript_id"}, nil},
	{"a ticket with another transcript", "tickets", `UPDATE tickets SET transcript_id = gen_random_uuid() WHERE id = (SELECT id FROM tickets WHERE deleted_at IS NULL AND transcript_id IS NOT NULL ORDER BY source_id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"source_conversation_id", "transcript_id"}, nil},
	{"knowledge of somebody else", "knowledge", `UPDATE knowledge SET end_user_id = gen_random_uuid() WHERE id = (SELECT id FROM knowledge ORDER BY id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"end_user_id"}, nil},
	{"a word of knowledge", "knowledge", `UPDATE knowledge SET content = content || '.' WHERE id = (SELECT id FROM knowledge ORDER BY id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"content"}, nil},
	{"a row of knowledge deleted", "knowledge", `DELETE FROM knowledge WHERE id = (SELECT k.id FROM knowledge k WHERE (SELECT count(*) FROM knowledge o WHERE o.source_id = k.source_id) > 1 ORDER BY id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{""}, nil},
	{"a company", "companies", `UPDATE companies SET plan = 'tampered' WHERE id = (SELECT m.row_id FROM ingest.id_map m JOIN companies e ON e.id = m.row_id AND e.source_id = m.source_id
		WHERE m.deleted_at IS NULL AND e.deleted_at IS NULL AND m.kind = 'company' AND m.content_hash = e.content_hash AND e.plan IS NOT NULL ORDER BY m.source_id LIMIT 1) RETURNING source_id`,
		diff.Changed, []string{"plan"}, nil},
}

func TestAFaultPlantedInAnyHistoryIsFoundAndNothingElse(t *testing.T) {
	d := newDatabase(t)
	seeds := uint64(3 * len(plants))
	if long() {
		seeds = 1500
	}
	planted := make(map[string]int)
	for seed := range seeds {
		left, _ := d.history(10_000 + seed)
		_, before := d.compare(left, diff.Options{})
		plant := plants[seed%uint64(len(plants))]
		whose := d.texts(plant.sql)
		if len(whose) != 1 {
			continue // the history has no such row
		}
		if c := left.changes[key(diff.Kind(plant.entity), whose[0])]; c.EndUser != nil && c.EndUser.Name == "" && slices.Contains(plant.columns, "name") ||
			c.Company != nil && c.Company.Plan == "" || slices.Contains(plant.columns, "custom_fields") && string(c.EndUser.CustomFields) == "{}" {
			continue // what the object lacks is there from elsewhere (diff.RuleFilled, RuleKeysStay): nobody knows what it should be
		}
		planted[plant.name]++
		_, after := d.compare(left, diff.Options{})
		found := false
		known := make(map[string]bool)
		for _, f := range before {
			known[describe(f)] = true
		}
		for _, f := range after {
			switch {
			case f.Entity == plant.entity && f.SourceID == whose[0] && f.Class == plant.class:
				found = found || names(f, plant.columns)
			case known[describe(f)], slices.Contains(plant.beside, f.Entity):
			default:
				t.Errorf("seed %d, %s of %s: also found %s", seed, plant.name, whose[0], describe(f))
			}
		}
		if !found {
			t.Errorf("seed %d, %s of %s is not found among %d findings", seed, plant.name, whose[0], len(after))
			for _, f := range after {
				t.Log(describe(f))
			}
		}
		if t.Failed() {
			break
		}
	}
	if missed := len(plants) - len(planted); missed > 3 {
		t.Errorf("%d kinds of faults were planted nowhere", missed)
	}
	t.Log(strings.Join(slices.Sorted(maps.Keys(planted)), "; "), fmt.Sprint(planted))
}

// names reports whether a finding names one of the columns; "" stands for none.
func names(f diff.Finding, columns []string) bool {
	if columns == nil || len(f.Cells) == 0 && slices.Contains(columns, "") {
		return true
	}
	return slices.ContainsFunc(f.Cells, func(c diff.Cell) bool { return slices.Contains(columns, c.Column) })
}
