package compare

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sources/halo"
)

// A listing has no parts, so there is no content to be hashed. At diff.LevelFast a conversation's hash is therefore that of
// what both sides know without them: the version, and how many messages Intercom says that there are. Where they differ the
// diff looks at the conversation in full.
const transcripts = "transcripts"

// listingHash hashes a version and a number of messages; a negative number is not known.
func listingHash(updated int64, messages int) (d record.Digest) {
	var e record.Encoder
	e.Reset("listing of transcripts")
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(updated))
	binary.BigEndian.PutUint64(b[8:], uint64(int64(messages)))
	e.Bytes(b[:])
	return e.Sum()
}

// ListedDatabase is the database as it is compared with a listing: of conversations it yields version and number of
// messages.
type ListedDatabase struct {
	*halo.Side
	Pool *pgxpool.Pool
	Org  record.UUID
}

// Fingerprints reads conversations by those two; other entities are the side's.
func (s ListedDatabase) Fingerprints(ctx context.Context, entity string, level diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	if entity != transcripts || level != diff.LevelFast {
		return s.Side.Fingerprints(ctx, entity, level)
	}
	return func(yield func([]record.Fingerprint, error) bool) {
		rows, err := s.Pool.Query(ctx, `SELECT id::text, source_id, coalesce((extract(epoch FROM source_updated_at) * 1000000)::bigint, 0),
				(extract(epoch FROM updated_at) * 1000000)::bigint, coalesce(expected_message_count, -1), deleted_at IS NOT NULL
			FROM public.transcripts WHERE org_id = $1 AND source_id IS NOT NULL AND metadata->>'source' = 'intercom'`, s.Org)
		if err != nil {
			yield(nil, fmt.Errorf("list conversations: %w", err))
			return
		}
		defer rows.Close()
		batch := make([]record.Fingerprint, 0, 1000)
		var f record.Fingerprint
		var id string
		var messages int
		var deleted bool
		_, err = pgx.ForEachRow(rows, []any{&id, &f.SourceID, &f.UpdatedAt, &f.FetchedAt, &messages, &deleted}, func() error {
			f.Hash, f.Count, f.State = listingHash(f.UpdatedAt, messages), 1, record.FingerprintLive
			if deleted {
				f.State = record.FingerprintDeleted
			}
			// As at diff.LevelFull: the object that it claims to be is bound to another row.
			if record.RowID(s.Org, record.KindConversation, f.SourceID).String() != id {
				f.SourceID = diff.StrayPrefix + id
			}
			if batch = append(batch, f); len(batch) < cap(batch) {
				return nil
			}
			full := batch
			batch = batch[:0]
			if !yield(full, nil) {
				return errStop
			}
			return nil
		})
		switch {
		case err == errStop:
		case err != nil:
			yield(nil, fmt.Errorf("list conversations: %w", err))
		case len(batch) > 0:
			yield(batch, nil)
		}
	}
}

// Listed names what both sides know of a conversation without reading it.
func (s ListedDatabase) Listed(entity string) []string {
	if entity != transcripts {
		return nil
	}
	return []string{"expected_message_count", "source_updated_at"}
}

type stop struct{}

func (stop) Error() string { return "the reader wants no more" }

var errStop = stop{}

// ListedSnapshot is a snapshot as it is compared with a listing: of conversations it yields the version alone.
type ListedSnapshot struct{ *Snapshot }

// Fingerprints hides the hashes of conversations; other entities are the side's.
func (s ListedSnapshot) Fingerprints(ctx context.Context, entity string, level diff.Level) iter.Seq2[[]record.Fingerprint, error] {
	all := s.Snapshot.Fingerprints(ctx, entity, level)
	if entity != transcripts || level != diff.LevelFast {
		return all
	}
	return func(yield func([]record.Fingerprint, error) bool) {
		for batch, err := range all {
			for i := range batch {
				batch[i].Hash = listingHash(batch[i].UpdatedAt, -1)
			}
			if !yield(batch, err) || err != nil {
				return
			}
		}
	}
}

// Listed names what both sides know of a conversation without reading it.
func (s ListedSnapshot) Listed(entity string) []string {
	if entity != transcripts {
		return nil
	}
	return []string{"source_updated_at"}
}

// Counted is the workspace by its totals alone.
type Counted struct{ *Live }

// Count asks Intercom for its total, and companies by their scroll, which is read to its end. It is not of one moment.
func (s Counted) Count(ctx context.Context, entity string) (n int64, exact bool, err error) {
	kind, err := kindOf(entity)
	if err != nil {
		return 0, false, err
	}
	if kind == record.KindCompany {
		n, err = s.countCompanies(ctx)
		return n, false, err
	}
	total, err := s.o.Client.Count(ctx, kind, time0)
	if err == nil && total < 0 {
		err = fmt.Errorf("count %s: Intercom does not tell how many there are", kind.Stream())
	}
	return int64(total), false, err
}

var _ interface {
	diff.Side
	diff.Counter
	diff.Noter
	diff.Meter
} = Counted{}
