package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	"haloingest/pipeline/record"
)

// The inbox: deliveries that were accepted wait in ingest.webhook_inbox until what they name has been read anew and loaded. They are written by
// whoever receives them, under no lease, and marked by the run that works on them, in the transaction that loads.

// Accept stores deliveries in one transaction; it implements sources/webhook.Inbox. One that is there already, by its organisation and id, is
// left alone and not counted. When it returns without an error, all are on disk: also where the server's own setting is not to wait for that.
// It does not try again.
func (db *DB) Accept(ctx context.Context, list []record.Delivery) (stored int, err error) {
	// In one order, so that two transactions with the same deliveries do not wait for each other.
	list = slices.SortedFunc(slices.Values(list), func(a, b record.Delivery) int {
		return cmp.Or(bytes.Compare(a.Org[:], b.Org[:]), cmp.Compare(a.ID, b.ID))
	})
	n := len(list)
	orgs, ids, topics, objects, problems := make([][16]byte, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	gone, bodies := make([]bool, n), make([][]byte, n)
	for i, d := range list {
		orgs[i], ids[i], topics[i] = d.Org, record.CleanText(d.ID), record.CleanText(d.Topic)
		objects[i], problems[i], gone[i], bodies[i] = joinKeys(d.Objects), clip(record.CleanText(d.Problem), maxRejectReason), d.Gone, d.Body
		if d.ID == "" {
			return 0, invariant("a delivery of organisation %s has no id", d.Org)
		}
		if bodies[i] == nil {
			bodies[i] = []byte{}
		}
	}
	tag, err := db.pool.Exec(ctx, `INSERT INTO ingest.webhook_inbox (org_id, notification_id, topic, objects, gone, body, error, parked_at)
		SELECT k.org, k.id, k.topic, string_to_array(k.objects, ' '), k.gone, k.body, nullif(k.problem, ''), CASE WHEN k.problem <> '' THEN now() END
		FROM (SELECT CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END) durable,
			unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::bytea[], $7::text[]) AS k(org, id, topic, objects, gone, body, problem)
		ON CONFLICT (org_id, notification_id) WHERE notification_id <> '' DO NOTHING`, orgs, ids, topics, objects, gone, bodies, problems)
	if err != nil {
		return 0, wrap(ctx, err, "store %d deliveries", n)
	}
	return int(tag.RowsAffected()), nil
}

// joinKeys writes keys as kind/id, separated by blanks, of which neither has any.
func joinKeys(keys []record.ObjectKey) string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = string(k.Kind) + "/" + strings.ReplaceAll(record.CleanText(k.ID), " ", "")
	}
	return strings.Join(texts, " ")
}

func splitKeys(texts []string) []record.ObjectKey {
	keys := make([]record.ObjectKey, 0, len(texts))
	for _, t := range texts {
		kind, id, _ := strings.Cut(t, "/")
		if k, ok := kindOf(kind); ok {
			keys = append(keys, record.ObjectKey{Kind: k, ID: id})
		}
	}
	return keys
}
