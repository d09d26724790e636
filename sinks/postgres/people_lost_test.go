package postgres

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func TestWhatAContactHasLostIsTakenOffItsOwnRowOnly(t *testing.T) {
	rich := func(r *record.EndUserRow) {
		r.ExternalID, r.Name, r.Avatar = "u1", "Ann", "https://x.org/a.png"
		r.Context = json.RawMessage(`{"intercom_phone":{"label":"Phone","type":"custom","value":"1"},"intercom_tags":{"label":"Tags","type":"list","value":["vip"]}}`)
		r.CustomFields = json.RawMessage(`{"seats":5}`)
	}
	poor := func(r *record.EndUserRow) {
		r.ExternalID, r.Name, r.Avatar = "", "Ann", ""
		r.Context = json.RawMessage(`{"intercom_phone":{"label":"Phone","type":"custom","value":"2"}}`)
		r.CustomFields = json.RawMessage(`{}`)
	}
	const row = `SELECT coalesce(external_id, '-'), name, coalesce(avatar, '-'), (SELECT string_agg(key, ' ' ORDER BY key) FROM jsonb_object_keys(context) AS key),
		context->'intercom_phone'->>'value', custom_fields FROM end_users WHERE deleted_at IS NULL ORDER BY id`
	for _, tt := range []struct {
		name   string
		before func(x *loading)
		want   []string
	}{
		{"a row of its own loses it, but for custom fields", func(*loading) {},
			[]string{`(-,Ann,-,intercom_phone,2,"{""seats"": 5}")`}},
		{"a row that Halo made keeps it, but for what this program wrote into its context", func(x *loading) {
			x.exec(`INSERT INTO end_users (org_id, id, external_id, name, context) VALUES ($1, gen_random_uuid(), 'u1', 'Ann of Halo', '{"mood":{"value":"good"}}')`, orgA)
		}, []string{`(u1,Ann,https://x.org/a.png,"intercom_phone mood",2,"{""seats"": 5}")`}},
		{"a row shared with somebody keeps it", func(x *loading) {
			x.commit(contactChange(orgA, "other", 1, func(r *record.EndUserRow) { r.ExternalID, r.Role = "u1", "lead" }))
		}, []string{`(u1,Ann,https://x.org/a.png,"intercom_phone intercom_tags",2,"{""seats"": 5}")`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newLoading(t)
			tt.before(x)
			x.commit(contactChange(orgA, "c", 2, rich))
			x.commit(contactChange(orgA, "c", 3, poor))
			if diff := cmp.Diff(tt.want, x.table(row)); diff != "" {
				t.Errorf("row (-want +got):\n%s", diff)
			}
		})
	}
}
