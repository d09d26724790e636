package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	arrowparquet "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	arrowfile "github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/parquet-go/parquet-go"

	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// This file reads files with arrow, the library that has not written them: for Verify, which is to find what the other one would
// not, and for Export.

// arrowRows is how many rows are in memory at once.
const arrowRows = 256

// openArrow opens a file whose bytes are whole. The caller closes it.
func openArrow(data []byte) (*arrowfile.Reader, error) {
	props := arrowparquet.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled = true // else whole columns are read at once
	return arrowfile.NewParquetReader(bytes.NewReader(data), arrowfile.WithReadProps(props))
}

// records calls each with batches of the file's rows; a batch is good until each returns.
func records(ctx context.Context, f *arrowfile.Reader, each func(arrow.Record) error) error {
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: arrowRows}, memory.DefaultAllocator)
	if err != nil {
		return err
	}
	list, err := r.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer list.Release()
	for list.Next() {
		if err := each(list.Record()); err != nil {
			return err
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, io.EOF) { // its word for a normal end
		return err
	}
	return nil
}

// sameSchema checks that a file has the columns of its table, as arrow reads them.
func sameSchema(f *arrowfile.Reader, want *parquet.Schema) error {
	have := f.MetaData().Schema
	columns := want.Columns()
	if have.NumColumns() != len(columns) {
		return fmt.Errorf("it has %d columns and should have %d", have.NumColumns(), len(columns))
	}
	for i, path := range columns {
		leaf, _ := want.Lookup(path...)
		c := have.Column(i)
		name := ""
		for j, p := range path {
			if j > 0 {
				name += "."
			}
			name += p
		}
		// The physical types are the format's, numbered alike by both libraries.
		if c.Path() != name || int(c.PhysicalType()) != int(leaf.Node.Type().Kind()) ||
			int(c.MaxDefinitionLevel()) != leaf.MaxDefinitionLevel || int(c.MaxRepetitionLevel()) != leaf.MaxRepetitionLevel {
			return fmt.Errorf("its column %d is %s (%s), and should be %s (%s)", i, c.Path(), c.PhysicalType(), name, leaf.Node.Type())
		}
	}
	return nil
}

// sameCodec checks that the file is compressed as this program compresses.
func sameCodec(f *arrowfile.Reader) error {
	for g := range f.NumRowGroups() {
		group := f.MetaData().RowGroup(g)
		for i := range group.NumColumns() {
			c, err := group.ColumnChunk(i)
			if err != nil {
				return err
			}
			if codec := c.Compression(); codec != compress.Codecs.Zstd {
				return fmt.Errorf("it is compressed by %s", codec)
			}
		}
	}
	return nil
}

// sameMeta checks what the file says of itself.
func sameMeta(f *arrowfile.Reader, m *file.Manifest, info *file.FileInfo) error {
	meta := f.MetaData().KeyValueMetadata()
	for _, pair := range [...][2]string{
		{file.MetaOrg, m.Org.String()}, {file.MetaRun, m.Run.String()}, {file.MetaLayer, info.Layer}, {file.MetaTable, info.Table},
		{file.MetaStream, info.Stream}, {file.MetaSeq, strconv.FormatInt(info.Seq, 10)}, {file.MetaSchema, strconv.Itoa(m.Schema)},
		{file.MetaDigest, strconv.Itoa(m.Digest)},
	} {
		if have := meta.FindValue(pair[0]); have == nil || *have != pair[1] {
			return fmt.Errorf("it does not say that its %s is %s", pair[0], pair[1])
		}
	}
	return nil
}

// batch gives the values of a record by column and row. A column that is not there, or of another type, panics; sameSchema comes first.
type batch struct {
	arrow.Record
	columns map[string]arrow.Array
}

func newBatch(r arrow.Record) batch {
	b := batch{r, make(map[string]arrow.Array, r.NumCols())}
	for i, f := range r.Schema().Fields() {
		b.columns[f.Name] = r.Column(i)
	}
	return b
}

func (b batch) text(column string, i int) string {
	switch c := b.columns[column].(type) {
	case *array.String:
		if c.IsNull(i) {
			return ""
		}
		return c.Value(i)
	case *array.Binary:
		if c.IsNull(i) {
			return ""
		}
		return c.ValueString(i)
	}
	panic("column " + column + " holds no text")
}

// raw returns a value's bytes, good until the record is released; nil where it is NULL or empty.
func (b batch) raw(column string, i int) []byte {
	c := b.columns[column].(*array.Binary)
	if c.IsNull(i) || c.ValueLen(i) == 0 {
		return nil
	}
	return c.Value(i)
}

func (b batch) time(column string, i int) time.Time {
	c := b.columns[column].(*array.Timestamp)
	if c.IsNull(i) {
		return time.Time{}
	}
	return time.UnixMicro(int64(c.Value(i))).UTC()
}

func (b batch) int(column string, i int) int {
	c := b.columns[column].(*array.Int64)
	if c.IsNull(i) {
		return 0
	}
	return int(c.Value(i))
}

func (b batch) bool(column string, i int) bool { return b.columns[column].(*array.Boolean).Value(i) }

func (b batch) id(column string, i int) (id [16]byte) {
	copy(id[:], b.columns[column].(*array.FixedSizeBinary).Value(i))
	return id
}

func (b batch) texts(column string, i int) []string {
	c := b.columns[column].(*array.List)
	if c.IsNull(i) {
		return nil
	}
	from, to := c.ValueOffsets(i)
	values := c.ListValues().(*array.String)
	var list []string
	for j := from; j < to; j++ {
		list = append(list, values.Value(int(j)))
	}
	return list
}

func (b batch) head(i int) record.Head {
	return record.Head{
		Org: b.id("org_id", i), ID: b.id("id", i), SourceID: b.text("source_id", i), SourceUpdatedAt: b.time("source_updated_at", i),
		SourceCreatedAt: b.time("source_created_at", i), Hash: b.id("content_hash", i),
	}
}

func (b batch) endUser(i int) *record.EndUserRow {
	return &record.EndUserRow{
		Head: b.head(i), ExternalID: b.text("external_id", i), Name: b.text("name", i), Email: b.text("email", i), Avatar: b.text("avatar", i),
		Role: b.text("role", i), SignedUpAt: b.time("signed_up_at", i), FirstSeen: b.time("first_seen", i), LastSeen: b.time("last_seen", i),
		LastContactedAt: b.time("last_contacted_at", i), CustomFields: b.raw("custom_fields", i), Context: b.raw("context", i),
		Companies: b.texts("source_company_ids", i),
	}
}

func (b batch) company(i int) *record.CompanyRow {
	return &record.CompanyRow{
		Head: b.head(i), ExternalID: b.text("external_id", i), Name: b.text("name", i), Domain: b.text("domain", i), Industry: b.text("industry", i),
		Plan: b.text("plan", i), EmployeeCount: b.int("employee_count", i), SignedUpAt: b.time("signed_up_at", i),
		CustomFields: b.raw("custom_fields", i), Context: b.raw("context", i), LastRequestAt: b.time("last_request_at", i),
	}
}

func (b batch) transcript(i int) *record.TranscriptRow {
	return &record.TranscriptRow{
		Head: b.head(i), ContactID: b.text("source_contact_id", i), CompanyID: b.text("source_company_id", i), SessionID: b.text("session_id", i),
		Subject: b.text("subject", i), MessagesJSON: b.raw("messages", i), MessageCount: b.int("message_count", i),
		ExpectedMessageCount: b.int("expected_message_count", i), Complete: b.bool("complete", i), Status: b.text("status", i),
		Outcome: b.text("outcome", i), StartedAt: b.time("started_at", i), EndedAt: b.time("ended_at", i), Metadata: b.raw("metadata", i),
		KnowledgeHash: b.id("knowledge_hash", i),
	}
}

func (b batch) ticket(i int) *record.TicketRow {
	return &record.TicketRow{
		Head: b.head(i), ContactID: b.text("source_contact_id", i), CompanyID: b.text("source_company_id", i),
		ConversationID: b.text("source_conversation_id", i), Number: b.text("ticket_number", i), Subject: b.text("subject", i),
		Message: b.text("message", i), Status: b.text("status", i), Priority: b.text("priority", i), Category: b.text("category", i),
		Assignee: b.text("assignee", i), MessagesJSON: b.raw("messages", i), ResolvedAt: b.time("resolved_at", i), Metadata: b.raw("metadata", i),
	}
}

func (b batch) knowledge(i int) *record.KnowledgeRow {
	return &record.KnowledgeRow{
		Org: b.id("org_id", i), ID: b.id("id", i), Key: b.text("key", i), Kind: b.text("kind", i), ParentID: b.id("parent_id", i),
		ChunkIndex: b.int("chunk_index", i), Title: b.text("title", i), Content: b.text("content", i),
		SourceMessageIDs: b.texts("source_message_ids", i), Metadata: b.raw("metadata", i), SourceID: b.text("source_id", i),
		SourceUpdatedAt: b.time("source_updated_at", i), Hash: b.id("content_hash", i),
	}
}
