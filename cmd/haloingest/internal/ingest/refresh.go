package ingest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// Refreshing reads again what is still going on, one request an object, because Intercom tells of some changes by nothing else: a rating, a tag or
// a redaction need not move updated_at (fact sheet, section 7), so that no search finds them. What has not changed is not written.
//
// What is still going on are conversations and tickets whose last known change is younger than twice activity_refresh, and than a day: ratings and
// redactions follow the last message within hours, and a round may begin late. Those that are open are read again for 30 days after their last
// change. What lies longer is left to the full walk, since to read every forgotten open conversation all the time would use up the budget.
//
// A round goes through all of them in the order of their ids, so that what was read longest ago comes next. A run that has used up its
// allowance rests: it ends as interrupted, and the next one goes on where it stopped, until the round is complete.

const (
	recentAtLeast = 24 * time.Hour
	openFor       = 30 * 24 * time.Hour

	// refreshShare of the requests that the workspace's budget allows in the time between two rounds, of an hour at most, are for refreshing.
	refreshShare   = 0.1
	leastAllowance = 500    // objects
	mostAllowance  = 50_000 // objects
	refreshFor     = 10 * time.Minute

	believedGone = 10 // objects, whatever their share
)

// errRest ends a run that has used up its allowance.
var errRest = errors.New("the allowance of this run is used up")

// allowance is what a run may read again.
type allowance struct {
	objects int
	until   time.Time
	rest    bool // there was more

	read, gone int // so far
}

// doubts reports whether n more objects that are gone, of a page of so many, are more than is believed of a run: then something is wrong with what Intercom
// answers, or with the token. They stay as they are, and a full walk looks again, with the same doubt.
func (a *allowance) doubts(n, page int) bool {
	a.read += page
	if a.gone+n > believedGone && float64(a.gone+n) > postgres.UsualUnseenShare*float64(a.read) {
		return true
	}
	a.gone += n
	return false
}

// allow works out the allowance when it is needed first: by then an answer has told the budget.
func (r *Run) allow() *allowance {
	if r.left != nil {
		return r.left
	}
	left := &allowance{objects: r.request.Limit, until: time.Now().Add(refreshFor)}
	if left.objects <= 0 {
		minutes := min(r.runner.Connection.ActivityRefresh, time.Hour).Minutes()
		left.objects = int(refreshShare * minutes * float64(r.runner.Client.Stats().PerMinute))
		left.objects = min(max(left.objects, leastAllowance), mostAllowance)
	}
	r.left = left
	return left
}

// refreshStream reads the conversations or tickets again that are still going on.
func (r *Run) refreshStream(kind record.Kind) stream {
	return stream{
		name: "refresh-" + kind.Stream(),
		kind: kind,
		open: func(context.Context) (pipeline.Source[record.Object], error) {
			return &again{run: r, kind: kind, what: "refreshed", ids: func(ctx context.Context, after string, limit int) ([]string, error) {
				return r.active(ctx, kind, after, limit)
			}}, nil
		},
	}
}

// active returns the ids behind after of what is still going on, in order. The window is that of the round's beginning.
func (r *Run) active(ctx context.Context, kind record.Kind, after string, limit int) ([]string, error) {
	over := `status <> 'completed'`
	if kind == record.KindTicket {
		over = `status NOT IN ('resolved', 'ai_resolved', 'spam')`
	}
	recent := r.run.StartedAt.Add(-max(2*r.runner.Connection.ActivityRefresh, recentAtLeast))
	open := r.run.StartedAt.Add(-openFor)
	rows, err := r.runner.DB.Pool().Query(ctx, `SELECT source_id FROM public.`+kind.Table()+`
		WHERE org_id = $1 AND source_updated_at >= least($2::timestamptz, $3::timestamptz) AND deleted_at IS NULL AND source_id IS NOT NULL AND source_id > $4
			AND (source_updated_at >= $2 OR `+over+` AND source_updated_at >= $3)
		ORDER BY source_id LIMIT $5`, r.runner.Connection.Org, recent, open, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list active %s: %w", kind.Stream(), err)
	}
	return collectIDs(rows, "list active "+kind.Stream())
}

// again is the source that reads objects again by id.
type again struct {
	run  *Run
	kind record.Kind
	what string // for the counts
	ids  func(ctx context.Context, after string, limit int) ([]string, error)
}

// againPage is how many objects make a page.
const againPage = 150

func (s *again) Name() string { return s.what + " " + s.kind.Stream() }

// Pages goes on behind the id that the cursor holds. It ends early, and says so in the run's allowance, when that is used up.
func (s *again) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		left, after := s.run.allow(), ""
		left.rest = false
		if len(from) > 0 {
			after = string(from[1:])
		}
		ids, err := s.ids(ctx, after, left.objects+1)
		if err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		for chunk := range slices.Chunk(ids, againPage) {
			whole := len(chunk)
			chunk = chunk[:min(whole, left.objects)]
			if left.rest = len(chunk) == 0 || !time.Now().Before(left.until); left.rest {
				return
			}
			page, err := s.read(ctx, chunk)
			left.objects -= len(chunk)
			page.Cursor = append(pipeline.Cursor{againVersion}, chunk[len(chunk)-1]...)
			if !yield(page, err) || err != nil {
				return
			}
			if left.rest = len(chunk) < whole; left.rest {
				return
			}
		}
	}
}

// againVersion begins a cursor; what follows is the last id.
const againVersion = 1

func (s *again) read(ctx context.Context, ids []string) (page pipeline.Page[record.Object], err error) {
	objects, errs := make([]record.Object, len(ids)), make([]error, len(ids))
	err = pipeline.ForEach(ctx, len(ids), max(s.run.runner.Concurrency, 1), func(ctx context.Context, i int) error {
		objects[i], errs[i] = s.run.runner.Client.Fetch(ctx, s.kind, ids[i])
		if errs[i] != nil && !intercom.IsOwnFault(errs[i]) {
			return errs[i]
		}
		return nil
	})
	if err != nil {
		return page, err
	}
	gone := 0
	for _, o := range objects {
		if o.Gone != "" {
			gone++
		}
	}
	doubt := s.run.left.doubts(gone, len(ids))
	if doubt {
		s.run.runner.Log.Warn("so many objects that are gone are not believed; they are left as they are", "stream", s.Name(), "gone", s.run.left.gone+gone, "read", s.run.left.read)
	}
	for i, o := range objects {
		if o.Gone != "" && doubt {
			page.Counts.Add("intercom/"+s.kind.Stream()+"/gone, not believed", 1)
			continue
		}
		if errs[i] != nil {
			page.Rejects = append(page.Rejects, pipeline.Reject{Stage: s.Name(), Kind: string(s.kind), ID: ids[i], Reason: errs[i].Error()})
			continue
		}
		what := s.what
		if o.Gone != "" {
			what += ", " + string(o.Gone)
		}
		page.Counts.Add("intercom/"+s.kind.Stream()+"/"+what, 1)
		page.Items = append(page.Items, o)
	}
	return page, nil
}

// followStream reads the conversations or tickets again in which somebody shows who was merged into somebody else, or has another name or address, since
// the last complete sync: they show that when they are read, and are not changed by it. Conversations in which such a person only takes part beside
// their customer are left to the full walk.
func (r *Run) followStream(kind record.Kind) stream {
	return stream{
		name: "follow-" + kind.Stream(),
		kind: kind,
		anew: true,
		open: func(context.Context) (pipeline.Source[record.Object], error) {
			return &again{run: r, kind: kind, what: "read for a contact's sake", ids: func(ctx context.Context, after string, limit int) ([]string, error) {
				return r.followed(ctx, kind, after, limit)
			}}, nil
		},
	}
}

// followed returns the ids behind after of what shows contacts that have changed, in order. What runs have changed is known by their before-images.
func (r *Run) followed(ctx context.Context, kind record.Kind, after string, limit int) ([]string, error) {
	rows, err := r.runner.DB.Pool().Query(ctx, `WITH lately AS MATERIALIZED (
			SELECT id FROM ingest.runs WHERE org_id = $1 AND started_at > coalesce((
				SELECT max(started_at) FROM ingest.runs WHERE org_id = $1 AND state = 'complete' AND undone_at IS NULL
					AND (kind = 'sync' OR kind = 'backfill' AND NOT spec ?| ARRAY['only', 'since', 'sample'])), '-infinity')),
		merged AS MATERIALIZED (
			SELECT g.source_id, m.row_id FROM ingest.tombstones g
			JOIN ingest.id_map m ON m.org_id = g.org_id AND m.kind = g.kind AND m.source_id = g.source_id
			WHERE g.org_id = $1 AND g.kind = 'contact' AND g.merged_into IS NOT NULL AND g.run_id IN (SELECT id FROM lately)),
		renamed AS MATERIALIZED (
			SELECT DISTINCT e.id FROM lately l
			JOIN ingest.before_images b ON b.org_id = $1 AND b.run_id = l.id AND b.table_name = 'end_users'
			JOIN public.end_users e ON e.org_id = $1 AND e.id = b.row_key::uuid
			WHERE (b.image->>'name', b.image->>'email') IS DISTINCT FROM (e.name, e.email))
		SELECT t.source_id FROM (SELECT row_id AS id FROM merged UNION SELECT id FROM renamed) k
		JOIN public.`+kind.Table()+` t ON t.org_id = $1 AND t.end_user_id = k.id
		WHERE t.deleted_at IS NULL AND t.source_id > $2
			AND (k.id IN (SELECT id FROM renamed) OR t.source_contact_id IN (SELECT source_id FROM merged))
		ORDER BY t.source_id LIMIT $3`, r.runner.Connection.Org, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list %s of changed contacts: %w", kind.Stream(), err)
	}
	return collectIDs(rows, fmt.Sprintf("list %s of changed contacts", kind.Stream()))
}

func collectIDs(rows pgx.Rows, what string) ([]string, error) {
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return ids, nil
}
