package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/parquet-go/parquet-go"

	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// checker checks one segment, both of its layers. Not safe for concurrent use.
type checker struct {
	s     *Snapshot
	run   *Run
	e     record.Encoder
	found func(path, what string)

	rows     map[object]int64       // what the segment says of an object: when it was read, in microseconds
	refused  map[object]bool        // rejected objects
	nameless map[record.Kind]int    // rejects without an id
	pages    []page                 // objects as received
	learnt   []knowledgeOf          // of the transcripts, in order
	digests  map[string]digestsFile // of knowledge rows, in order
}

type object struct {
	kind record.Kind
	id   string
}

type page struct {
	object
	at   int64
	path string
}

type knowledgeOf struct {
	path, source string
	count        int
	hash         record.Digest
}

type digestsFile struct {
	sources []string
	hashes  []record.Digest
}

// newChecker returns a checker of a segment. found is told of everything that is wrong.
func newChecker(s *Snapshot, run *Run, found func(path, what string)) *checker {
	return &checker{s: s, run: run, found: found, rows: map[object]int64{}, refused: map[object]bool{}, nameless: map[record.Kind]int{}, digests: map[string]digestsFile{}}
}

// schemas of the tables, by layer and table.
func schemaOf(info *file.FileInfo) *parquet.Schema {
	if info.Layer == file.LayerPages {
		return pageRows.schema
	}
	switch info.Table {
	case record.KindContact.Table():
		return endUsers.schema
	case record.KindCompany.Table():
		return companies.schema
	case record.KindConversation.Table():
		return transcripts.schema
	case record.KindTicket.Table():
		return tickets.schema
	case file.TableKnowledge:
		return knowledge.schema
	case file.TableTombstones:
		return tombstones.schema
	case file.TableRejects:
		return rejects.schema
	}
	return nil
}

// check reads one file to its end. data are its bytes as stored.
func (c *checker) check(ctx context.Context, info *file.FileInfo, data []byte) error {
	schema := schemaOf(info)
	if schema == nil {
		return fmt.Errorf("it is of a table %q that this program does not know", info.Table)
	}
	f, err := openArrow(data)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // of memory
	if err := sameSchema(f, schema); err != nil {
		return err
	}
	if err := sameCodec(f); err != nil {
		return err
	}
	if err := sameMeta(f, &c.run.Manifest, info); err != nil {
		return err
	}
	sums := &summary{}
	if err := records(ctx, f, func(r arrow.Record) error { return c.batch(info, newBatch(r), sums) }); err != nil {
		return err
	}
	return sums.compare(info)
}

// summary is what a manifest says of a file's rows.
type summary struct {
	rows        int64
	first, last string
	prints      file.Fingerprints
}

func (s *summary) add(id string) {
	if s.rows == 0 {
		s.first, s.last = id, id
	}
	s.first, s.last = min(s.first, id), max(s.last, id)
	s.rows++
}

func (s *summary) compare(info *file.FileInfo) error {
	switch {
	case s.rows != info.Rows:
		return fmt.Errorf("it has %d rows and should have %d", s.rows, info.Rows)
	case s.first != info.First || s.last != info.Last:
		return fmt.Errorf("its ids reach from %q to %q and should reach from %q to %q", s.first, s.last, info.First, info.Last)
	case !slices.Equal(s.prints.Texts(), info.Buckets):
		return errors.New("the fingerprints of its rows are not those of the manifest")
	}
	return nil
}

var errHash = errors.New("its content_hash is not that of its values")

// batch checks some rows of a file.
func (c *checker) batch(info *file.FileInfo, b batch, s *summary) error {
	for i := range int(b.NumRows()) {
		id := b.text("source_id", i)
		s.add(id)
		var err error
		switch {
		case info.Layer == file.LayerPages:
			c.page(info, b, i, s)
		case info.Table == file.TableTombstones:
			at := b.time("fetched_at", i)
			s.prints.Add(id, at, b.text("kind", i), b.text("why", i), b.text("merged_into", i))
			c.has(record.Kind(b.text("kind", i)), id, at)
		case info.Table == file.TableRejects:
			kind := record.Kind(b.text("kind", i))
			s.prints.Add(id, time.Time{}, b.text("stage", i), string(kind), b.text("field", i), b.text("reason", i), b.text("payload", i))
			if c.refused[object{kind, id}] = true; id == "" {
				c.nameless[kind]++
			}
		case info.Table == file.TableKnowledge:
			r := b.knowledge(i)
			s.prints.AddBytes(id, time.Time{}, r.Hash[:])
			d := c.digests[info.Path]
			d.sources, d.hashes = append(d.sources, id), append(d.hashes, r.Hash)
			c.digests[info.Path] = d
			err = c.sealed(r.Org, r.ID, record.KnowledgeID(c.run.Org, r.Key, r.Kind, r.ChunkIndex), r.Hash, func() record.Digest { r.Seal(&c.e); return r.Hash })
		default:
			err = c.row(info, b, i, s)
		}
		if err != nil {
			return fmt.Errorf("row %d, %q: %w", s.rows-1, id, err)
		}
	}
	return nil
}

func (c *checker) page(info *file.FileInfo, b batch, i int, s *summary) {
	id, at := b.text("source_id", i), b.time("fetched_at", i)
	if gone := b.text("gone", i); gone != "" {
		s.prints.Add(id, at, gone, b.text("merged_into", i), b.text("body", i))
	} else {
		s.prints.AddBytes(id, at, b.raw("body", i))
	}
	c.pages = append(c.pages, page{object{record.Kind(b.text("kind", i)), id}, at.UnixMicro(), info.Path})
}

func (c *checker) has(kind record.Kind, id string, at time.Time) {
	k := object{kind, id}
	if old, ok := c.rows[k]; !ok || at.UnixMicro() > old {
		c.rows[k] = at.UnixMicro()
	}
}

// row checks a row of a table of objects.
func (c *checker) row(info *file.FileInfo, b batch, i int, s *summary) error {
	h := b.head(i)
	at := b.time("fetched_at", i)
	s.prints.AddBytes(h.SourceID, at, h.Hash[:])
	var kind record.Kind
	var seal func() record.Digest
	switch info.Table {
	case record.KindContact.Table():
		r := b.endUser(i)
		kind, seal = record.KindContact, func() record.Digest { r.Seal(&c.e); return r.Hash }
	case record.KindCompany.Table():
		r := b.company(i)
		kind, seal = record.KindCompany, func() record.Digest { r.Seal(&c.e); return r.Hash }
	case record.KindConversation.Table():
		r := b.transcript(i)
		kind, seal = record.KindConversation, func() record.Digest { r.Seal(&c.e); return r.Hash }
		c.learnt = append(c.learnt, knowledgeOf{info.Path, h.SourceID, b.int("knowledge_count", i), r.KnowledgeHash})
	default:
		r := b.ticket(i)
		kind, seal = record.KindTicket, func() record.Digest { r.Seal(&c.e); return r.Hash }
	}
	c.has(kind, h.SourceID, at)
	return c.sealed(h.Org, h.ID, record.RowID(c.run.Org, kind, h.SourceID), h.Hash, seal)
}

func (c *checker) sealed(org, id, want record.UUID, hash record.Digest, seal func() record.Digest) error {
	switch {
	case org != c.run.Org:
		return fmt.Errorf("it is of organisation %s", org)
	case id != want:
		return fmt.Errorf("its id is %s and should be %s", id, want)
	case c.run.Digest == record.DigestVersion && seal() != hash:
		return errHash
	}
	return nil
}

// end checks the segment as a whole, if all of its files could be read.
func (c *checker) end() {
	c.agree()
	c.knowledge()
}

// agree checks that every object that was received became something, and that everything became of an object.
func (c *checker) agree() {
	received := make(map[object]bool, len(c.pages))
	for _, p := range c.pages {
		received[p.object] = true
		if at, ok := c.rows[p.object]; ok && at >= p.at || c.refused[p.object] {
			continue
		}
		if p.id == "" && c.nameless[p.kind] > 0 {
			continue
		}
		c.found(p.path, fmt.Sprintf("has %s %q, of which the segment's rows have no row, no tombstone, no reject and no newer state", p.kind, p.id))
	}
	for o := range c.rows {
		if !received[o] {
			c.found(c.run.Path, fmt.Sprintf("names a segment with rows of %s %q, of which it has no page", o.kind, o.id))
		}
	}
}

// knowledge checks that the transcripts have the knowledge that they say.
func (c *checker) knowledge() {
	var all digestsFile
	path := ""
	for p, d := range c.digests {
		path, all = p, d // there is one such file in a segment
	}
	at := 0
	for _, k := range c.learnt {
		if k.count < 0 || at+k.count > len(all.hashes) {
			c.found(k.path, fmt.Sprintf("says that conversation %s has %d rows of knowledge; the segment has fewer", k.source, k.count))
			return
		}
		rows := make([]record.KnowledgeRow, k.count)
		for i := range rows {
			if all.sources[at+i] != k.source {
				c.found(path, fmt.Sprintf("has knowledge of conversation %s where that of %s should be", all.sources[at+i], k.source))
				return
			}
			rows[i].Hash = all.hashes[at+i]
		}
		at += k.count
		if c.run.Digest == record.DigestVersion && record.KnowledgeHash(&c.e, rows) != k.hash {
			c.found(k.path, fmt.Sprintf("says of conversation %s another knowledge_hash than its knowledge has", k.source))
		}
	}
	if at < len(all.hashes) {
		c.found(path, fmt.Sprintf("has %d rows that belong to no transcript of the segment", len(all.hashes)-at))
	}
}
