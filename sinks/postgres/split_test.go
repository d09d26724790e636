package postgres

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

// fewer makes rapid run n checks where each needs a database, unless the command line says how many.
func fewer(t *testing.T, n string) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f == nil || f.Value.String() != f.DefValue {
		return
	}
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", f.DefValue) })
}

// peopleSQL describes rows by who is on them. Companies of Halo's own end users are left out: they are given and never taken away, so they
// may be remembered from a state that a larger batch passes over.
const peopleSQL = `
WITH m AS (SELECT kind, row_id, string_agg(source_id || '(' || reason || ')', ' ' ORDER BY source_id) AS who FROM ingest.id_map WHERE org_id = $1 GROUP BY kind, row_id),
	u AS (SELECT e.*, coalesce(m.who, '') AS who, e.custom_fields ? 'own' AS native FROM end_users e LEFT JOIN m ON m.row_id = e.id AND m.kind = 'contact' WHERE e.org_id = $1),
	c AS (SELECT e.*, coalesce(m.who, '') AS who FROM companies e LEFT JOIN m ON m.row_id = e.id AND m.kind = 'company' WHERE e.org_id = $1)
SELECT 'user ' || concat_ws('|', who, external_id, source, source_id, name, email, avatar, role, custom_fields, context, source_updated_at, encode(content_hash, 'hex'),
	deleted_at, (SELECT c.who FROM c WHERE c.id = u.company_id AND NOT u.native), first_seen, created_at, updated_at) FROM u
UNION ALL
SELECT 'company ' || concat_ws('|', who, external_id, source, source_id, name, domain, custom_fields, source_updated_at, encode(content_hash, 'hex'), deleted_at) FROM c
UNION ALL
SELECT 'transcript ' || concat_ws('|', t.source_id, coalesce((SELECT u.who FROM u WHERE u.id = t.end_user_id), 'nobody'), (SELECT c.who FROM c WHERE c.id = t.company_id AND NOT (SELECT u.native FROM u WHERE u.id = t.end_user_id))) FROM transcripts t WHERE org_id = $1
UNION ALL
SELECT 'knowledge ' || concat_ws('|', k.source_id, (SELECT u.who FROM u WHERE u.id = k.end_user_id), (SELECT c.who FROM c WHERE c.id = k.company_id AND NOT (SELECT u.native FROM u WHERE u.id = k.end_user_id))) FROM knowledge k WHERE org_id = $1
UNION ALL
SELECT 'map ' || concat_ws('|', kind, source_id, reason, rank, external_id, native, source_updated_at, encode(content_hash, 'hex'), deleted_at, merged_into, companies) FROM ingest.id_map WHERE org_id = $1`

// Contacts and companies that share external ids and addresses, with each other and with Halo's own rows, are decided one after
// the other; here the oracle is the loader itself with one object per batch.
func TestHowAHistoryIsCutIntoBatchesMakesNoDifference(t *testing.T) {
	fewer(t, "20")
	db := newDB(t)
	var orgs atomic.Uint32
	rapid.Check(t, func(t *rapid.T) {
		type make func(org record.UUID) record.Change
		var history []make
		pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
		for range rapid.IntRange(1, 16).Draw(t, "events") {
			n := rapid.IntRange(1, 9).Draw(t, "n")
			id := pick("id", "a", "b", "c", "d")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				history = append(history, func(record.UUID) record.Change { return goneChange(record.KindContact, id, n) })
			case 1:
				into := pick("into", "a", "b", "c", "d")
				history = append(history, func(record.UUID) record.Change { return mergedChange(id, into, n) })
			case 2, 3:
				id, external, asked := pick("company", "k1", "k2", "k3"), pick("external", "", "y1", "y2"), rapid.IntRange(1, 3).Draw(t, "asked")
				history = append(history, func(org record.UUID) record.Change {
					return companyChange(org, id, n, func(r *record.CompanyRow) { r.ExternalID, r.LastRequestAt = external, at(asked) })
				})
			case 4:
				id := pick("conversation", "v1", "v2")
				contact := pick("contact", "a", "b", "c", "d")
				history = append(history, func(org record.UUID) record.Change {
					return conversationChange(org, id, contact, n, []string{"k"}, nil)
				})
			default:
				external, email, role := pick("external", "", "x1", "x2", "x3"), pick("email", "", "m1@x.org", " M1@X.org", "m2@x.org"), pick("role", "user", "lead")
				custom, avatar := pick("custom", `{}`, `{"p":1}`, `{"p":2,"q":1}`), pick("avatar", "", "img")
				of := rapid.SampledFrom([][]string{nil, {"k1"}, {"k1", "k2"}, {"k2", "k3"}}).Draw(t, "companies")
				history = append(history, func(org record.UUID) record.Change {
					return contactChange(org, id, n, func(r *record.EndUserRow) {
						r.ExternalID, r.Email, r.Role, r.Avatar, r.Companies = external, email, role, avatar, of
						r.CustomFields = json.RawMessage(custom)
					})
				})
			}
		}
		natives := rapid.SliceOfN(rapid.SampledFrom([]string{"x1|m1@x.org", "|m1@x.org", "x2|", "|m2@x.org"}), 0, 3).Draw(t, "natives")
		size := rapid.IntRange(2, 16).Draw(t, "batch")
		n := orgs.Add(1)
		org := record.UUID{0xdd, byte(n >> 16), byte(n >> 8), byte(n)}
		load := func(size int) []string {
			ctx := context.Background()
			for _, table := range []string{"end_users", "companies", "transcripts", "knowledge", "ingest.id_map", "ingest.tombstones", "ingest.pending_links", "ingest.contact_companies"} {
				if _, err := db.Pool().Exec(ctx, `DELETE FROM `+table+` WHERE org_id = $1`, org); err != nil {
					t.Fatal(err)
				}
			}
			lease, err := db.Acquire(ctx, org, "split")
			if err != nil {
				t.Fatal(err)
			}
			defer lease.Release(ctx)
			run, err := db.StartRun(ctx, lease, RunSpec{Kind: "split", Restart: true})
			if err != nil {
				t.Fatal(err)
			}
			x := &loading{tb: &testingT{T: t}, db: db, lease: lease, run: run, sink: run.Sink("all", SinkOptions{})}
			defer x.sink.Close(ctx)
			for i, s := range natives {
				_, err := db.Pool().Exec(ctx, `INSERT INTO end_users (org_id, id, external_id, email, name, source, custom_fields, first_seen, created_at, updated_at)
					SELECT $1, $2, nullif(split_part($3, '|', 1), ''), nullif(split_part($3, '|', 2), ''), 'native ' || $4::text, 'widget', '{"own": 1}', $5, $5, $5
					ON CONFLICT (org_id, external_id) DO NOTHING`, org, record.UUID{0xee, byte(i)}, s, fmt.Sprint(i), at(0))
				if err != nil {
					t.Fatal(err)
				}
			}
			for i := 0; i < len(history); i += size {
				var batch []record.Change
				for _, f := range history[i:min(i+size, len(history))] {
					batch = append(batch, f(org))
				}
				if err := x.try(batch...); err != nil {
					t.Fatal(err)
				}
			}
			return x.lines(peopleSQL, org)
		}
		if diff := cmp.Diff(load(1), load(size)); diff != "" {
			t.Fatalf("rows (-one by one +in batches):\n%s", diff)
		}
	})
}
