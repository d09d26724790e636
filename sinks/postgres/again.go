package postgres

import (
	"context"
	"crypto/sha256"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Again says that what is loaded has been loaded once before, here or elsewhere: a replay. Rows take care of themselves, since an older state never replaces a
// newer one. Rejects have no version, so a second telling of one must neither count nor open again what was mended since, and an older
// state must not close the reject of a newer one.
type Again struct {
	// Rejected reports whether rejects of the object are among what is loaded, and if so, how what is loaded now stands to the last of them: order is negative
	// before it, 0 with it, positive after it. Open rejects of an object that is loaded are closed only after the last, or, if there are none, where a
	// row is written.
	Rejected func(kind record.Kind, id string) (among bool, order int)
	// Payload returns an object of the batch as it was received, for the reject of one that the database refuses; changes that come
	// again do not have it.
	Payload func(ctx context.Context, kind record.Kind, id string) ([]byte, error)
}

// mends reports whether the open rejects of a loaded item are to be closed.
func (a *Again) mends(it *item) bool {
	if a == nil {
		return true
	}
	if among, order := a.Rejected(it.change.Kind, it.change.SourceID); among {
		return order > 0
	}
	return it.outcome == inserted || it.outcome == updated || it.outcome == deleted
}

// news fills in the payloads of rejects, and leaves out those that are there, open or closed. Of one that is followed by another of its
// object, the payload may have been replaced by that one's.
func (a *Again) news(ctx context.Context, l *loader, rejects []pipeline.Reject) ([]pipeline.Reject, error) {
	if a == nil || len(rejects) == 0 {
		return rejects, nil
	}
	causes, sums := make([][]byte, len(rejects)), make([][]byte, len(rejects)) // a sum of nil: of any payload
	for i := range rejects {
		x := &rejects[i]
		if x.Stage == stageName && x.Payload == nil && a.Payload != nil {
			var err error
			if x.Payload, err = a.Payload(ctx, record.Kind(x.Kind), x.ID); err != nil {
				return nil, err
			}
		}
		cause, sum := rejectCause(*x), sha256.Sum256(x.Payload)
		causes[i], sums[i] = cause[:], sum[:]
		if among, order := a.Rejected(record.Kind(x.Kind), x.ID); among && order < 0 {
			sums[i] = nil
		}
	}
	rows, err := l.conn.Query(ctx, `SELECT k.i FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS k(cause, sum, i)
		WHERE NOT EXISTS (SELECT FROM ingest.rejects r WHERE r.org_id = $1 AND r.cause = k.cause AND (k.sum IS NULL OR sha256(r.payload) = k.sum)) ORDER BY k.i`, l.org, causes, sums)
	if err != nil {
		return nil, err
	}
	fresh, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	list := make([]pipeline.Reject, len(fresh))
	for i, n := range fresh {
		list[i] = rejects[n-1]
	}
	return list, nil
}
