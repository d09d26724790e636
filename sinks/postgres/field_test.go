package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
)

// freshSQL is every live row with all its values, but for run_id, created_at and updated_at, and for what rows keep by contract: activity
// stamps, and custom fields that the object lacks. Beside them stand the bindings and whatever waits.
const freshSQL = `
SELECT 'user ' || (to_jsonb(e) - '{run_id,created_at,updated_at,first_seen,last_seen,last_contacted_at,custom_fields}'::text[])::text FROM end_users e WHERE org_id = $1 AND deleted_at IS NULL
UNION ALL SELECT 'company ' || (to_jsonb(e) - '{run_id,created_at,updated_at,custom_fields}'::text[])::text FROM companies e WHERE org_id = $1 AND deleted_at IS NULL
UNION ALL SELECT 'transcript ' || (to_jsonb(e) - '{run_id,created_at,updated_at}'::text[])::text FROM transcripts e WHERE org_id = $1
UNION ALL SELECT 'ticket ' || (to_jsonb(e) - '{run_id,created_at,updated_at}'::text[])::text FROM tickets e WHERE org_id = $1
UNION ALL SELECT 'knowledge ' || (to_jsonb(e) - '{run_id,created_at,updated_at}'::text[])::text FROM knowledge e WHERE org_id = $1
UNION ALL SELECT 'map ' || (to_jsonb(e) - '{run_id,created_at,updated_at,fetched_at}'::text[])::text FROM ingest.id_map e WHERE org_id = $1
UNION ALL SELECT 'waits ' || (to_jsonb(e) - '{run_id,created_at,updated_at}'::text[])::text FROM ingest.pending_links e WHERE org_id = $1`

// keysSQL is each live row's custom fields.
const keysSQL = `SELECT id::text || ' ' || key || ' ' || value FROM end_users, jsonb_each_text(custom_fields) WHERE org_id = $1 AND deleted_at IS NULL
	UNION ALL SELECT id::text || ' ' || key || ' ' || value FROM companies, jsonb_each_text(custom_fields) WHERE org_id = $1 AND deleted_at IS NULL`

// Loaded under one pair of id fields and read again whole under another, a workspace has the rows of a fresh load under the new ones: also the ids,
// which say in what order contacts came to share a row. The oracle is the fresh load. What is left over are rows that nobody is on any more, marked
// as deleted, and custom fields on rows that another object was on. (What fills a column that the shown object leaves empty is the first one that can,
// so here nobody else has another value to fill it with.)
func TestAfterAChangeOfIDFieldsAFullReadGivesTheRowsOfAFreshLoad(t *testing.T) {
	fewer(t, "25")
	db := newDB(t)
	var orgs atomic.Uint32
	rapid.Check(t, func(t *rapid.T) {
		n := orgs.Add(1)
		org := record.UUID{0xdf, byte(n >> 16), byte(n >> 8), byte(n)}
		ctx := context.Background()
		pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
		type made func(field int, read int) record.Change
		var workspace []made
		for i := range rapid.IntRange(0, 4).Draw(t, "companies") {
			id := fmt.Sprint("k", i)
			external := [2]string{pick("x", "", "y1", "y2", "y3"), pick("y", "", "y1", "y2", "y3")}
			asked := rapid.IntRange(0, 3).Draw(t, "asked")
			workspace = append(workspace, func(field, read int) record.Change {
				c := companyChange(org, id, 1, func(r *record.CompanyRow) {
					r.ExternalID, r.CustomFields, r.Domain = external[field], json.RawMessage(`{"of_`+id+`":1}`), pickBy(i, "", "x.org")
					if asked > 0 {
						r.LastRequestAt = at(asked)
					}
				})
				c.Version.FetchedAt = at(100_000 + read)
				return c
			})
		}
		for i := range rapid.IntRange(1, 7).Draw(t, "contacts") {
			id := fmt.Sprint("c", i)
			external := [2]string{pick("a", "", "x1", "x2", "x3"), pick("b", "", "x1", "x2", "x3", "x4")}
			email, role, avatar := pick("email", "", "m1@x.org", "m2@x.org"), pick("role", "user", "lead"), pick("avatar", "", "img")
			of := rapid.SampledFrom([][]string{nil, {"k0"}, {"k0", "k1"}, {"k1", "k2", "k3"}}).Draw(t, "of")
			changed := rapid.IntRange(1, 3).Draw(t, "changed")
			workspace = append(workspace, func(field, read int) record.Change {
				c := contactChange(org, id, changed, func(r *record.EndUserRow) {
					r.ExternalID, r.Email, r.Role, r.Avatar, r.Companies = external[field], email, role, avatar, of
					r.CustomFields = json.RawMessage(`{"of_` + id + `":1,"all":"` + id + `"}`)
					r.Context = json.RawMessage(`{"intercom_` + id + `":{"label":"L","type":"custom","value":"1"}}`)
				})
				c.Version.FetchedAt = at(100_000 + read)
				return c
			})
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "conversations") {
			contact, company := fmt.Sprint("c", rapid.IntRange(0, 7).Draw(t, "by")), pick("at", "", "k0", "k1", "k3")
			workspace = append(workspace, func(_, read int) record.Change {
				c := conversationChange(org, fmt.Sprint("v", i), contact, 1, []string{"learnt"}, func(r *record.TranscriptRow) { r.CompanyID = company })
				c.Version.FetchedAt = at(100_000) // it would show
				return c
			})
		}
		size := [2]int{rapid.IntRange(1, 12).Draw(t, "batch"), rapid.IntRange(1, 12).Draw(t, "batch again")}
		read := 0
		load := func(field, size int) {
			lease, err := db.Acquire(ctx, org, "fields")
			if err != nil {
				t.Fatal(err)
			}
			defer lease.Release(ctx)
			name := fmt.Sprint("field", field)
			run, err := db.StartRun(ctx, lease, RunSpec{Kind: "fields", Restart: true, Params: map[string]string{ParamUserIDField: name, ParamCompanyIDField: name}})
			if err != nil {
				t.Fatal(err)
			}
			x := &loading{tb: &testingT{T: t}, db: db, lease: lease, run: run, sink: run.Sink("all", SinkOptions{})}
			defer x.sink.Close(ctx)
			commit := func(list []made) {
				read++
				for i := 0; i < len(list); i += size {
					var batch []record.Change
					for _, f := range list[i:min(i+size, len(list))] {
						batch = append(batch, f(field, read))
					}
					if err := x.try(batch...); err != nil {
						t.Fatal(err)
					}
				}
			}
			commit(workspace)
			// What a walk has to read again, it reads again.
			for range 3 {
				again := make(map[string]bool)
				for _, s := range x.lines(`SELECT kind || ' ' || source_id FROM ingest.id_map WHERE org_id = $1 AND content_hash IS NULL`, org) {
					again[s] = true
				}
				var list []made
				for _, f := range workspace {
					if c := f(field, 0); again[string(c.Kind)+" "+c.SourceID] {
						list = append(list, f)
					}
				}
				if commit(list); len(list) == 0 {
					break
				}
			}
		}
		x := &loading{tb: &testingT{T: t}, db: db}
		load(0, size[0])
		load(1, size[1])
		got, keys := x.lines(freshSQL, org), x.lines(keysSQL, org)
		for _, table := range []string{"end_users", "companies", "transcripts", "tickets", "knowledge", "ingest.id_map", "ingest.tombstones", "ingest.pending_links", "ingest.contact_companies"} {
			if _, err := db.Pool().Exec(ctx, `DELETE FROM `+table+` WHERE org_id = $1`, org); err != nil {
				t.Fatal(err)
			}
		}
		load(1, len(workspace))
		if diff := cmp.Diff(x.lines(freshSQL, org), got); diff != "" {
			t.Fatalf("rows (-fresh +after the change):\n%s", diff)
		}
		have := make(map[string]bool)
		for _, k := range keys {
			have[k] = true
		}
		for _, k := range x.lines(keysSQL, org) {
			if !have[k] {
				t.Fatalf("a fresh load has the custom field %s, and it is lost", k)
			}
		}
	})
}

func pickBy(i int, list ...string) string { return list[i%len(list)] }
