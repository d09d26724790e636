package postgres

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

func TestABatchOfAllKindsLandsLinkedAndASecondOneWritesNothing(t *testing.T) {
	x := newLoading(t)
	batch := func() []record.Change {
		return []record.Change{
			companyChange(orgA, "co1", 1, func(r *record.CompanyRow) { r.ExternalID = "acme" }),
			contactChange(orgA, "c1", 1, func(r *record.EndUserRow) { r.ExternalID, r.Email, r.Companies = "u1", "A@x.org ", []string{"co1"} }),
			conversationChange(orgA, "v1", "c1", 1, []string{"one", "two"}, nil),
			ticketChange(orgA, "t1", "c1", 1, func(r *record.TicketRow) { r.ConversationID = "v1" }),
		}
	}
	got := x.commit(batch()...)
	want := pipeline.Counts{"load/companies/inserted": 1, "load/end_users/inserted": 1, "load/transcripts/inserted": 1, "load/tickets/inserted": 1, "load/knowledge/inserted": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts of the first run (-want +got):\n%s", diff)
	}
	rows := x.table(`SELECT u.external_id, u.source, u.email, c.external_id AS company, v.subject, v.company_id = c.id, k.transcript_id = v.id,
			t.transcript_id = v.id, t.company_id = c.id, count(k.id), u.created_at = $1, v.updated_at = $2
		FROM end_users u JOIN companies c ON c.id = u.company_id JOIN transcripts v ON v.end_user_id = u.id JOIN tickets t ON t.end_user_id = u.id
			JOIN knowledge k ON k.end_user_id = u.id AND k.company_id = c.id
		GROUP BY u.external_id, u.source, u.email, c.external_id, v.subject, v.company_id, c.id, k.transcript_id, v.id, t.transcript_id, t.company_id, u.created_at, v.updated_at`, at(0), at(100_001))
	if diff := cmp.Diff([]string{`(u1,intercom,"A@x.org ",acme,"v1 v1",t,t,t,t,2,t,t)`}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	got = x.commit(batch()...)
	want = pipeline.Counts{"load/companies/equal": 1, "load/end_users/equal": 1, "load/transcripts/equal": 1, "load/tickets/equal": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts of the second run (-want +got):\n%s", diff)
	}
}
