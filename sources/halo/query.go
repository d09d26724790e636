package halo

// unboundSQL reads rows of people that no object is bound to, but for those that this program has marked when the last object left
// them. The last field says that it is Halo's own row that an object has left: it still shows that object, which is bound elsewhere, in
// an older state.
func unboundSQL(l *layout, org string) string {
	return `SELECT e.id, e.source_id, e.source_updated_at, e.updated_at, e.deleted_at, e.content_hash, ` + leftSQL + `
		FROM public.` + l.entity + ` e LEFT JOIN ingest.id_map n ON n.org_id = e.org_id AND n.kind = '` + string(l.kind) + `' AND n.source_id = e.source_id
		WHERE e.org_id = ` + org + ` AND NOT EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = e.org_id AND m.row_id = e.id AND m.kind = '` + string(l.kind) + `')
			AND (e.source_id IS NULL OR e.deleted_at IS NULL)`
}

// leftSQL is true of a row that its object has left for another one: because it has changed, or was merged away.
const leftSQL = `coalesce(n.reason = 'merged' OR n.source_updated_at > e.source_updated_at AND n.content_hash IS DISTINCT FROM e.content_hash, false)`

// goneSQL reads the tombstones.
func goneSQL(l *layout, org string) string {
	return `SELECT t.source_id FROM ingest.tombstones t WHERE t.org_id = ` + org + ` AND t.kind = '` + string(l.kind) + `'`
}

// choiceSQL is the company of each row of end_users by the identity map: of the companies of the contacts on it that are known, the one with
// the latest request, then the lower id; a contact that was merged away has no say (contract, "Identity"). rows restricts the rows.
func choiceSQL(org, rows string) string {
	return `SELECT DISTINCT ON (m.row_id) m.row_id, c.row_id AS company
		FROM ingest.id_map m CROSS JOIN LATERAL unnest(m.companies) AS k(id)
			JOIN ingest.id_map c ON c.org_id = m.org_id AND c.kind = 'company' AND c.source_id = k.id
		WHERE m.org_id = ` + org + ` AND m.kind = 'contact' AND m.reason <> 'merged'` + rows + `
		ORDER BY m.row_id, c.last_request_at DESC NULLS LAST, c.source_id COLLATE "C"`
}

// Links of transcripts and tickets: the end user that the contact is bound to, and the company that the row names itself, or else its end
// user's (sinks/postgres, link.go).
const (
	linkJoin = `
		LEFT JOIN ingest.id_map u ON u.org_id = e.org_id AND u.kind = 'contact' AND u.source_id = e.source_contact_id
		LEFT JOIN public.end_users p ON p.org_id = u.org_id AND p.id = u.row_id
		LEFT JOIN ingest.id_map o ON o.org_id = e.org_id AND o.kind = 'company' AND o.source_id = e.source_company_id`
	wantUser    = `p.id`
	wantCompany = `CASE WHEN e.source_company_id IS NULL THEN p.company_id ELSE o.row_id END`
)

// doubtfulSQL reads the ids of objects with a link that is not what the identity map says; "" where there are no links.
func doubtfulSQL(entity, org string) string {
	switch entity {
	case "end_users":
		return `SELECT e.source_id FROM public.end_users e LEFT JOIN (` + choiceSQL(org, "") + `) c ON c.row_id = e.id
			WHERE e.org_id = ` + org + ` AND e.source_id IS NOT NULL AND e.company_id IS DISTINCT FROM c.company
				AND (c.company IS NOT NULL OR EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = e.org_id AND m.row_id = e.id AND m.kind = 'contact' AND NOT m.native))`
	case "transcripts", "tickets":
		sql := `SELECT e.source_id FROM public.` + entity + ` e` + linkJoin + ` WHERE e.org_id = ` + org + ` AND e.source_id IS NOT NULL
			AND (e.end_user_id IS DISTINCT FROM ` + wantUser + ` OR e.company_id IS DISTINCT FROM ` + wantCompany + `)`
		if entity == "tickets" {
			// One that waits for a conversation which is there.
			sql += ` UNION ALL SELECT e.source_id FROM ingest.pending_links w
				JOIN public.tickets e ON e.org_id = w.org_id AND e.id = w.row_id AND e.transcript_id IS NULL
				JOIN public.transcripts t ON t.org_id = w.org_id AND t.source_id = w.ref_id
				WHERE w.org_id = ` + org + ` AND w.table_name = 'tickets' AND w.ref_kind = 'conversation'`
		}
		return sql
	case "knowledge":
		return `SELECT DISTINCT e.source_id FROM public.knowledge e JOIN public.transcripts t ON t.org_id = e.org_id AND t.id = e.transcript_id
			WHERE e.org_id = ` + org + ` AND e.source_id IS NOT NULL AND (e.end_user_id, e.company_id) IS DISTINCT FROM (t.end_user_id, t.company_id)`
	}
	return ""
}

// countSQL counts the objects that are there; $1 is the organisation.
func countSQL(l *layout) string {
	const org = "$1::uuid"
	switch {
	case l.entity == "knowledge":
		return `SELECT count(DISTINCT source_id) FROM public.knowledge WHERE org_id = ` + org + ` AND source_id IS NOT NULL AND deleted_at IS NULL`
	case l.person:
		return `SELECT (SELECT count(*) FROM ingest.id_map m JOIN public.` + l.entity + ` e ON e.org_id = m.org_id AND e.id = m.row_id
				WHERE m.org_id = ` + org + ` AND m.kind = '` + string(l.kind) + `' AND (m.native OR e.deleted_at IS NULL)
					AND NOT (m.deleted_at IS NOT NULL AND (e.deleted_at IS NOT NULL OR m.native OR ` + othersSQL + `)))
			+ (SELECT count(*) FROM public.` + l.entity + ` e LEFT JOIN ingest.id_map n ON n.org_id = e.org_id AND n.kind = '` + string(l.kind) + `' AND n.source_id = e.source_id
				WHERE e.org_id = ` + org + ` AND e.source_id IS NOT NULL AND e.deleted_at IS NULL AND NOT ` + leftSQL + `
				AND NOT EXISTS (SELECT FROM ingest.id_map m WHERE m.org_id = e.org_id AND m.row_id = e.id AND m.kind = '` + string(l.kind) + `'))`
	}
	return `SELECT count(*) FROM public.` + l.entity + ` WHERE org_id = ` + org + ` AND source_id IS NOT NULL AND deleted_at IS NULL`
}
