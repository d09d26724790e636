package diff

import (
	"crypto/sha256"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"haloingest/pipeline/record"
)

// digest is the keyed hash of an object's id: 128 bits of SHA-256 under a salt. Whoever does not know the salt cannot make two ids collide.
type digest [16]byte

type salt [16]byte

// partitions must be a power of two. With 64 of them one partition of ten million objects takes some 25 MB to join.
const partitions = 64

func (k digest) partition() int { return int(k[0]) & (partitions - 1) }

// hasher makes digests without allocating. Not safe for concurrent use.
type hasher struct{ buf []byte }

func newHasher(s salt) *hasher { return &hasher{buf: append(make([]byte, 0, 256), s[:]...)} }

func (h *hasher) sum(id string) digest {
	h.buf = append(h.buf[:len(salt{})], id...)
	full := sha256.Sum256(h.buf)
	return digest(full[:len(digest{})])
}

// schema is that of fingerprints, in memory and in files.
var schema = arrow.NewSchema([]arrow.Field{
	{Name: "key", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}},
	{Name: "hash", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}},
	{Name: "updated_at", Type: arrow.PrimitiveTypes.Int64},
	{Name: "fetched_at", Type: arrow.PrimitiveTypes.Int64},
	{Name: "count", Type: arrow.PrimitiveTypes.Int32},
	{Name: "state", Type: arrow.PrimitiveTypes.Uint8},
	{Name: "source_id", Type: arrow.BinaryTypes.Binary},
}, nil)

// fixedBytes is what a row takes without its id, whose offset is counted.
const fixedBytes = 16 + 16 + 8 + 8 + 4 + 1 + 4

// recordRows is how many rows a record batch has at most.
const recordRows = 4096

// store holds the fingerprints of one entity on one side, by partition: in memory as Arrow record batches, and beyond its limit in one file
// of such batches. Not safe for concurrent use.
type store struct {
	parts  [partitions]partition
	hasher *hasher
	size   int64 // bytes in memory
	limit  int64
	spill  *spill // nil until needed
	dir    string
	peak   int64 // bytes in the file

	tally  Tally // what came in: Read, Rows and Marks
	newest int64 // the latest FetchedAt
}

type partition struct {
	open     builder
	records  []arrow.Record // full batches that are in memory, in the order in which they came
	segments []segment      // what is in the file; came before the records
	bytes    int64          // all in all
}

// builder collects the rows of one record batch, column by column.
type builder struct {
	key, hash        []byte
	updated, fetched []int64
	count            []int32
	state            []uint8
	offsets          []int32
	ids              []byte
}

func newStore(s salt, limit int64, dir string) *store {
	return &store{hasher: newHasher(s), limit: limit, dir: dir}
}

// add takes fingerprints in.
func (s *store) add(batch []record.Fingerprint) error {
	for i := range batch {
		f := &batch[i]
		s.tally.Read++
		if f.State == record.FingerprintDoubtful {
			s.tally.Marks++
		} else {
			s.tally.Rows += int64(f.Count)
		}
		s.newest = max(s.newest, f.FetchedAt)
		key := s.hasher.sum(f.SourceID)
		p := &s.parts[key.partition()]
		p.open.add(key, f)
		n := int64(fixedBytes + len(f.SourceID))
		s.size += n
		p.bytes += n
		if len(p.open.state) == recordRows {
			p.seal()
		}
	}
	if s.size > s.limit {
		return s.flush()
	}
	return nil
}

func (b *builder) add(key digest, f *record.Fingerprint) {
	if b.key == nil {
		const some = 256
		*b = builder{make([]byte, 0, 16*some), make([]byte, 0, 16*some), make([]int64, 0, some), make([]int64, 0, some), make([]int32, 0, some), make([]uint8, 0, some),
			make([]int32, 0, some+1), make([]byte, 0, 12*some)}
	}
	b.key = append(b.key, key[:]...)
	b.hash = append(b.hash, f.Hash[:]...)
	b.updated = append(b.updated, f.UpdatedAt)
	b.fetched = append(b.fetched, f.FetchedAt)
	b.count = append(b.count, f.Count)
	b.state = append(b.state, uint8(f.State))
	b.offsets = append(b.offsets, int32(len(b.ids)))
	b.ids = append(b.ids, f.SourceID...)
}

// seal makes a record batch of what the builder has.
func (p *partition) seal() {
	if len(p.open.state) == 0 {
		return
	}
	p.records = append(p.records, p.open.record())
	p.open = builder{}
}

// record gives the builder's memory to a record batch.
func (b *builder) record() arrow.Record {
	n := len(b.state)
	b.offsets = append(b.offsets, int32(len(b.ids)))
	column := func(i int, buffers ...[]byte) arrow.Array {
		list := make([]*memory.Buffer, 1, 3) // the first would say what is NULL
		for _, raw := range buffers {
			list = append(list, memory.NewBufferBytes(raw))
		}
		return array.MakeFromData(array.NewData(schema.Field(i).Type, n, list, nil, 0, 0))
	}
	return array.NewRecord(schema, []arrow.Array{
		column(0, b.key),
		column(1, b.hash),
		column(2, arrow.Int64Traits.CastToBytes(b.updated)),
		column(3, arrow.Int64Traits.CastToBytes(b.fetched)),
		column(4, arrow.Int32Traits.CastToBytes(b.count)),
		column(5, b.state),
		column(6, arrow.Int32Traits.CastToBytes(b.offsets), b.ids),
	}, int64(n))
}

// flush puts all that is in memory into the file.
func (s *store) flush() error {
	if s.spill == nil {
		var err error
		if s.spill, err = newSpill(s.dir); err != nil {
			return err
		}
	}
	for i := range s.parts {
		p := &s.parts[i]
		p.seal()
		if len(p.records) == 0 {
			continue
		}
		seg, err := s.spill.write(p.records)
		if err != nil {
			return err
		}
		p.segments = append(p.segments, seg)
		p.records = nil
	}
	s.peak = s.spill.size
	s.size = 0
	return nil
}

// each calls f with every record batch of a partition, in the order in which the rows came.
func (s *store) each(part int, f func(arrow.Record) error) error {
	p := &s.parts[part]
	for _, seg := range p.segments {
		if err := s.spill.read(seg, f); err != nil {
			return err
		}
	}
	p.seal()
	for _, r := range p.records {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

// drop forgets what a partition has in memory.
func (s *store) drop(part int) {
	s.parts[part].records = nil
}

// close removes the file. The store is of no use then.
func (s *store) close() error {
	for i := range s.parts {
		s.parts[i] = partition{}
	}
	if s.spill == nil {
		return nil
	}
	err := s.spill.close()
	s.spill = nil
	return err
}

// rowReader gives the columns of a record batch their types.
type rowReader struct {
	key, hash        *array.FixedSizeBinary
	updated, fetched []int64
	count            []int32
	state            []uint8
	ids              *array.Binary
}

func readerOf(r arrow.Record) (rr rowReader, err error) {
	if !r.Schema().Equal(schema) {
		return rr, fmt.Errorf("%w: a record batch has another schema", ErrSpill)
	}
	return rowReader{
		key: r.Column(0).(*array.FixedSizeBinary), hash: r.Column(1).(*array.FixedSizeBinary),
		updated: r.Column(2).(*array.Int64).Int64Values(), fetched: r.Column(3).(*array.Int64).Int64Values(),
		count: r.Column(4).(*array.Int32).Int32Values(), state: r.Column(5).(*array.Uint8).Uint8Values(),
		ids: r.Column(6).(*array.Binary),
	}, nil
}
