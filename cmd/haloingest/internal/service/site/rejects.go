package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"haloingest/cmd/haloingest/internal/service/work"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/postgres"
)

// rejectsView is what could not be loaded.
type rejectsView struct {
	head
	Open   int64
	Causes []cause
	Newest []rejectLine
	Older  string
	First  bool
	Queued bool // a retry waits or runs
}

// cause is why objects could not be loaded.
type cause struct {
	Kind, Field, Reason string
	Open                int64
}

type rejectLine struct {
	ID                   int64
	Kind, SourceID       string
	Field, Reason, Stage string
	Times                int
	Seen                 when
	SizeOfPayload        string
}

// rejectsOnPage are the objects of one page; causesOnPage the causes.
const (
	rejectsOnPage = 50
	causesOnPage  = 50
)

func (s *Site) rejects(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/rejects")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), factsWithin)
	defer cancel()
	v := rejectsView{head: h, First: true}
	var before int64
	if q := r.URL.Query().Get("before"); q != "" {
		if before, err = strconv.ParseInt(q, 10, 64); err != nil || before < 0 {
			return errNothing
		}
		v.First = before == 0
	}
	counts, err := s.o.DB.RejectCounts(ctx, h.Org)
	if err != nil {
		return err
	}
	for i, c := range counts {
		v.Open += c.Open
		if i < causesOnPage {
			v.Causes = append(v.Causes, cause{page.Short(c.Kind, 40), page.Short(c.Field, 120), reason(c.Reason), c.Open})
		}
	}
	now, err := s.now(ctx)
	if err != nil {
		return err
	}
	list, err := s.readRejects(ctx, h.Org, before, rejectsOnPage+1)
	if err != nil {
		return err
	}
	if len(list) > rejectsOnPage {
		list = list[:rejectsOnPage]
		v.Older = fmt.Sprintf("%s/rejects?before=%d", h.URL, list[rejectsOnPage-1].ID)
	}
	for _, x := range list {
		v.Newest = append(v.Newest, rejectLine{ID: x.ID, Kind: page.Short(x.Kind, 40), SourceID: page.Short(x.SourceID, 80), Field: page.Short(x.Field, 120),
			Reason: reason(x.Reason), Stage: page.Short(x.Stage, 40), Times: x.Times, Seen: since(x.LastSeenAt, now), SizeOfPayload: page.Size(int64(x.PayloadBytes))})
	}
	jobs, err := s.o.Queue.Jobs(ctx, h.Org)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		v.Queued = v.Queued || j.Kind == work.KindRetry && j.State != work.JobFailed
	}
	return s.show(w, r, "rejects", http.StatusOK, h.view("Rejects", v))
}

// readRejects lists open rejects, the newest first, those before a number if it is not 0.
func (s *Site) readRejects(ctx context.Context, org record.UUID, before int64, limit int) ([]postgres.RejectInfo, error) {
	rows, err := s.o.DB.Pool().Query(ctx, `SELECT id, stage, kind, source_id, field, reason, length(payload), times, last_seen_at FROM ingest.rejects
		WHERE org_id = $1 AND resolved_at IS NULL AND ($2 = 0 OR id < $2) ORDER BY id DESC LIMIT $3`, org, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list rejects of %s: %w", org, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x postgres.RejectInfo, err error) {
		err = row.Scan(&x.ID, &x.Stage, &x.Kind, &x.SourceID, &x.Field, &x.Reason, &x.PayloadBytes, &x.Times, &x.LastSeenAt)
		return x, err
	})
	if err != nil {
		return nil, fmt.Errorf("list rejects of %s: %w", org, err)
	}
	return list, nil
}

// retry queues that one reject, or all, are tried again.
func (s *Site) retry(_ http.ResponseWriter, r *http.Request) error {
	c, err := s.connected(r)
	if err != nil {
		return err
	}
	var ids []int64
	for _, text := range r.PostForm["reject"] {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id <= 0 {
			return errNothing
		}
		ids = append(ids, id)
	}
	which := "all"
	if len(ids) > 0 {
		which = strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ", "), "[]")
	}
	if err := s.audited(r, c.Org, "retry rejects", map[string]string{"rejects": which}); err != nil {
		return err
	}
	here := orgURL(c.Org.String()) + "/rejects"
	err = s.o.Queue.Retry(r.Context(), c.Org, ids)
	if errors.Is(err, work.ErrQueued) {
		return to(here, "retry-waits")
	}
	if err != nil {
		return err
	}
	return to(here, "retry")
}
