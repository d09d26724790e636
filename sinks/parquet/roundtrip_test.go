package parquet_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
)

var noTimeout = context.Background()

var (
	org = record.UUID{0x6f, 0x1b, 15: 1}
	run = record.UUID{0xaa, 0xbb, 15: 2}
)

// Everything that is written comes back from the other library, value for value, and a file's description is true.
func TestWhatIsWrittenComesBackFromTheOtherLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := newMemory()
		to := parquet.Target{Store: store, Org: org, Run: run, Attempt: rapid.IntRange(1, 3).Draw(t, "attempt")}
		base := rapid.Uint64Range(0, 1<<40).Draw(t, "base")
		pages, rows := parquet.NewPages(to, "deleted-conversations", base), parquet.NewRows(to, "deleted-conversations", base)
		// Several segments by the same sinks: what they keep between them must not show.
		for seq := range rapid.Uint64Range(1, 3).Draw(t, "segments") {
			objects := rapid.SliceOfN(rapid.Custom(drawObject), 0, 6).Draw(t, "objects")
			got, err := pages.Write(noTimeout, pipeline.Batch[record.Object]{Seq: seq, Items: slices.Clone(objects)})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]row{}
			for _, o := range objects {
				want[o.Kind.Stream()] = append(want[o.Kind.Stream()], pageOf(o, int64(base+seq)))
			}
			compare(t, store, to, "pages", int64(base+seq), want, got)

			changes := rapid.SliceOfN(rapid.Custom(drawChange), 0, 6).Draw(t, "changes")
			rejects := rapid.SliceOfN(rapid.Custom(drawReject), 0, 2).Draw(t, "rejects")
			got, err = rows.Write(noTimeout, pipeline.Batch[record.Change]{Seq: seq, Items: slices.Clone(changes), Rejects: slices.Clone(rejects)})
			if err != nil {
				t.Fatal(err)
			}
			compare(t, store, to, "rows", int64(base+seq), rowsOf(changes, rejects), got)
		}
	})
}

// compare checks the files of one segment against the rows that they have to hold, and their descriptions against their bytes.
func compare(t *rapid.T, store parquet.Store, to parquet.Target, layer string, seq int64, want map[string][]row, got []pipeline.File) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d files for the tables of %d", len(got), len(want))
	}
	for _, f := range got {
		info := f.Meta.(parquet.FileInfo)
		data := content(t, store, f.Path)
		sum := sha256.Sum256(data)
		rows, _, metadata := arrowRead(t, data)
		if diff := cmp.Diff(want[info.Table], rows); diff != "" {
			t.Fatalf("%s of %s (-written +read):\n%s", layer, info.Table, diff)
		}
		var ids []string
		for _, r := range rows {
			id, _ := r["source_id"].(string)
			ids = append(ids, id)
		}
		describes := parquet.FileInfo{
			Path:  fmt.Sprintf("%s/org=%s/run=%s/table=%s/deleted-conversations.%06d.%d.parquet", layer, org, run, info.Table, seq, to.Attempt),
			Layer: layer, Stream: "deleted-conversations", Table: info.Table, Seq: seq, Rows: int64(len(rows)),
			Bytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), First: slices.Min(ids), Last: slices.Max(ids), Buckets: buckets(layer, info.Table, rows),
		}
		if diff := cmp.Diff(describes, info); diff != "" || f.Path != info.Path {
			t.Errorf("the description of %s (-true +said):\n%s", f.Path, diff)
		}
		if diff := cmp.Diff(map[string]string{
			"haloingest.org": org.String(), "haloingest.run": run.String(), "haloingest.layer": layer, "haloingest.table": info.Table,
			"haloingest.stream": "deleted-conversations", "haloingest.seq": fmt.Sprint(seq), "haloingest.schema": "1", "haloingest.digest": "1",
		}, metadata); diff != "" {
			t.Errorf("what %s says of itself (-want +got):\n%s", f.Path, diff)
		}
	}
}

// buckets computes the fingerprints from what they are said to be, with big integers.
func buckets(layer, table string, rows []row) []string {
	sums := make([]*big.Int, 16)
	for i := range sums {
		sums[i] = new(big.Int)
	}
	text := func(r row, column string) string { s, _ := r[column].(string); return s }
	for _, r := range rows {
		id := text(r, "source_id")
		at := make([]byte, 8)
		if t, ok := r["fetched_at"].(time.Time); ok && !t.IsZero() {
			binary.BigEndian.PutUint64(at, uint64(t.UnixMicro()))
		}
		var of string
		switch {
		case layer == "pages" && r["gone"] == nil:
			of = text(r, "body")
		case layer == "pages":
			of = text(r, "gone") + "\x00" + text(r, "merged_into") + "\x00" + text(r, "body")
		case table == "tombstones":
			of = text(r, "kind") + "\x00" + text(r, "why") + "\x00" + text(r, "merged_into")
		case table == "rejects":
			of = text(r, "stage") + "\x00" + text(r, "kind") + "\x00" + text(r, "field") + "\x00" + text(r, "reason") + "\x00" + text(r, "payload")
		default:
			raw, _ := hex.DecodeString(text(r, "content_hash"))
			of = string(raw)
		}
		sum := sha256.Sum256([]byte(id + "\x00" + string(at) + of))
		first := sha256.Sum256([]byte(id))
		b := sums[first[0]%16]
		b.Add(b, new(big.Int).SetBytes(sum[:16]))
		b.Mod(b, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	out := make([]string, len(sums))
	for i, s := range sums {
		out[i] = fmt.Sprintf("%032x", s)
	}
	return out
}

var (
	texts  = rapid.OneOf(rapid.Just(""), rapid.StringN(0, 12, -1), rapid.SampledFrom([]string{"ü", "a|b", "<null>", "NULL", "\u2028"}))
	ids    = rapid.OneOf(rapid.StringMatching(`[0-9a-f]{1,24}`), rapid.SampledFrom([]string{"1", "2", "ß"}))
	values = rapid.Custom(func(t *rapid.T) json.RawMessage {
		return json.RawMessage(rapid.SampledFrom([]string{`{}`, `[]`, `{"a":1.5,"b":null}`, `[{"text":"ü"}]`, `{"long":"` + fmt.Sprintf("%0300d", 7) + `"}`}).Draw(t, "json"))
	})
	times = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "none") {
			return time.Time{}
		}
		return time.UnixMicro(rapid.Int64Range(-62135596799999999, 253402300799999999).Draw(t, "micros")).UTC()
	})
	somes = rapid.Map(times, func(at time.Time) time.Time {
		if at.IsZero() {
			return time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		}
		return at
	})
	digests = rapid.Custom(func(t *rapid.T) (d record.Digest) {
		copy(d[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "digest"))
		return d
	})
)

func drawObject(t *rapid.T) record.Object {
	o := record.Object{
		Kind: rapid.SampledFrom(record.Kinds[:]).Draw(t, "kind"), ID: ids.Draw(t, "id"), Body: values.Draw(t, "body"),
		FetchedAt: somes.Draw(t, "fetched"), Request: "GET /" + texts.Draw(t, "request"), APIVersion: texts.Draw(t, "version"),
		Gone: rapid.SampledFrom([]record.Gone{"", "", record.GoneDeleted, record.GoneMerged}).Draw(t, "gone"),
	}
	if o.Gone != "" {
		o.GoneAt, o.MergedInto = times.Draw(t, "gone at"), texts.Draw(t, "into")
		if rapid.Bool().Draw(t, "no body") {
			o.Body = nil
		}
	}
	return o
}

func drawReject(t *rapid.T) pipeline.Reject {
	return pipeline.Reject{
		Stage: texts.Draw(t, "stage"), Kind: texts.Draw(t, "kind"), ID: texts.Draw(t, "id"), Field: texts.Draw(t, "field"),
		Reason: texts.Draw(t, "reason"), Payload: values.Draw(t, "payload"),
	}
}

func drawChange(t *rapid.T) record.Change {
	c := record.Change{
		Kind: rapid.SampledFrom(record.Kinds[:]).Draw(t, "kind"), SourceID: ids.Draw(t, "id"),
		Version: record.Version{UpdatedAt: times.Draw(t, "updated"), FetchedAt: somes.Draw(t, "fetched")},
	}
	if rapid.IntRange(0, 4).Draw(t, "gone") == 0 {
		c.Gone = &record.Tombstone{Why: record.GoneMerged, At: times.Draw(t, "at"), MergedInto: texts.Draw(t, "into")}
		return c
	}
	h := record.Head{
		Org: org, ID: record.UUID(digests.Draw(t, "row id")), SourceID: c.SourceID, SourceUpdatedAt: times.Draw(t, "updated"),
		SourceCreatedAt: times.Draw(t, "created"), Hash: digests.Draw(t, "hash"),
	}
	list := rapid.SliceOfN(ids, 0, 3)
	switch c.Kind {
	case record.KindContact:
		c.EndUser = &record.EndUserRow{
			Head: h, ExternalID: texts.Draw(t, "1"), Name: texts.Draw(t, "2"), Email: texts.Draw(t, "3"), Avatar: texts.Draw(t, "4"), Role: texts.Draw(t, "5"),
			SignedUpAt: times.Draw(t, "6"), FirstSeen: times.Draw(t, "7"), LastSeen: times.Draw(t, "8"), LastContactedAt: times.Draw(t, "9"),
			CustomFields: values.Draw(t, "10"), Context: values.Draw(t, "11"), Companies: list.Draw(t, "12"),
		}
	case record.KindCompany:
		c.Company = &record.CompanyRow{
			Head: h, ExternalID: texts.Draw(t, "1"), Name: texts.Draw(t, "2"), Domain: texts.Draw(t, "3"), Industry: texts.Draw(t, "4"), Plan: texts.Draw(t, "5"),
			EmployeeCount: rapid.IntRange(-1, 1000).Draw(t, "6"), SignedUpAt: times.Draw(t, "7"), CustomFields: values.Draw(t, "8"),
			Context: values.Draw(t, "9"), LastRequestAt: times.Draw(t, "10"),
		}
	case record.KindConversation:
		c.Transcript = &record.TranscriptRow{
			Head: h, ContactID: texts.Draw(t, "1"), CompanyID: texts.Draw(t, "2"), SessionID: texts.Draw(t, "3"), Subject: texts.Draw(t, "4"),
			MessagesJSON: values.Draw(t, "5"), MessageCount: rapid.Int().Draw(t, "6"), ExpectedMessageCount: rapid.Int().Draw(t, "7"),
			Complete: rapid.Bool().Draw(t, "8"), Status: texts.Draw(t, "9"), Outcome: texts.Draw(t, "10"), StartedAt: times.Draw(t, "11"),
			EndedAt: times.Draw(t, "12"), Metadata: values.Draw(t, "13"), KnowledgeHash: digests.Draw(t, "14"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "knowledge") {
			c.Knowledge = append(c.Knowledge, record.KnowledgeRow{
				Org: org, ID: record.UUID(digests.Draw(t, "k1")), Key: texts.Draw(t, "k2"), Kind: texts.Draw(t, "k3"), ParentID: record.UUID(digests.Draw(t, "k4")),
				ChunkIndex: rapid.Int().Draw(t, "k5"), Title: texts.Draw(t, "k6"), Content: texts.Draw(t, "k7"), SourceMessageIDs: list.Draw(t, "k8"),
				Metadata: values.Draw(t, "k9"), SourceID: c.SourceID, SourceUpdatedAt: times.Draw(t, "k10"), Hash: digests.Draw(t, "k11"),
			})
		}
	case record.KindTicket:
		c.Ticket = &record.TicketRow{
			Head: h, ContactID: texts.Draw(t, "1"), CompanyID: texts.Draw(t, "2"), ConversationID: texts.Draw(t, "3"), Number: texts.Draw(t, "4"),
			Subject: texts.Draw(t, "5"), Message: texts.Draw(t, "6"), Status: texts.Draw(t, "7"), Priority: texts.Draw(t, "8"), Category: texts.Draw(t, "9"),
			Assignee: texts.Draw(t, "10"), MessagesJSON: values.Draw(t, "11"), ResolvedAt: times.Draw(t, "12"), Metadata: values.Draw(t, "13"),
		}
	}
	return c
}

// The functions below say by hand what the columns of each table are.

func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func when(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at
}

func pageOf(o record.Object, seq int64) row {
	return row{
		"seq": seq, "kind": string(o.Kind), "source_id": o.ID, "request": o.Request, "api_version": o.APIVersion, "fetched_at": o.FetchedAt,
		"gone": null(string(o.Gone)), "gone_at": when(o.GoneAt), "merged_into": null(o.MergedInto), "body": null(string(o.Body)),
	}
}

func rowsOf(changes []record.Change, rejects []pipeline.Reject) map[string][]row {
	out := map[string][]row{}
	add := func(table string, h *record.Head, c *record.Change, r row) {
		if h != nil {
			r["org_id"], r["id"], r["source_id"] = hex.EncodeToString(h.Org[:]), hex.EncodeToString(h.ID[:]), h.SourceID
			r["source_updated_at"], r["source_created_at"], r["fetched_at"] = when(h.SourceUpdatedAt), when(h.SourceCreatedAt), c.Version.FetchedAt
			r["content_hash"] = h.Hash.String()
		}
		out[table] = append(out[table], r)
	}
	for i := range changes {
		c := &changes[i]
		switch {
		case c.Gone != nil:
			add("tombstones", nil, c, row{
				"place": int64(i), "kind": string(c.Kind), "source_id": c.SourceID, "source_updated_at": when(c.Version.UpdatedAt), "fetched_at": c.Version.FetchedAt,
				"why": string(c.Gone.Why), "gone_at": when(c.Gone.At), "merged_into": null(c.Gone.MergedInto),
			})
		case c.EndUser != nil:
			r := c.EndUser
			add("end_users", &r.Head, c, row{
				"external_id": null(r.ExternalID), "name": null(r.Name), "email": null(r.Email), "avatar": null(r.Avatar), "role": null(r.Role),
				"signed_up_at": when(r.SignedUpAt), "first_seen": when(r.FirstSeen), "last_seen": when(r.LastSeen), "last_contacted_at": when(r.LastContactedAt),
				"custom_fields": string(r.CustomFields), "context": string(r.Context), "source_company_ids": r.Companies,
			})
		case c.Company != nil:
			r := c.Company
			var employees any
			if r.EmployeeCount != 0 {
				employees = int64(r.EmployeeCount)
			}
			add("companies", &r.Head, c, row{
				"external_id": null(r.ExternalID), "name": null(r.Name), "domain": null(r.Domain), "industry": null(r.Industry), "plan": null(r.Plan),
				"employee_count": employees, "signed_up_at": when(r.SignedUpAt), "custom_fields": string(r.CustomFields), "context": string(r.Context),
				"last_request_at": when(r.LastRequestAt),
			})
		case c.Transcript != nil:
			r := c.Transcript
			add("transcripts", &r.Head, c, row{
				"source_contact_id": null(r.ContactID), "source_company_id": null(r.CompanyID), "session_id": null(r.SessionID), "subject": null(r.Subject),
				"message_count": int64(r.MessageCount), "expected_message_count": int64(r.ExpectedMessageCount), "complete": r.Complete,
				"status": null(r.Status), "outcome": null(r.Outcome), "started_at": when(r.StartedAt), "ended_at": when(r.EndedAt),
				"metadata": string(r.Metadata), "knowledge_hash": r.KnowledgeHash.String(), "knowledge_count": int64(len(c.Knowledge)), "messages": string(r.MessagesJSON),
			})
			for _, k := range c.Knowledge {
				add("knowledge", nil, c, row{
					"org_id": hex.EncodeToString(k.Org[:]), "id": hex.EncodeToString(k.ID[:]), "source_id": k.SourceID, "source_updated_at": when(k.SourceUpdatedAt),
					"key": k.Key, "kind": k.Kind, "parent_id": hex.EncodeToString(k.ParentID[:]), "chunk_index": int64(k.ChunkIndex), "title": null(k.Title),
					"content": k.Content, "source_message_ids": k.SourceMessageIDs, "metadata": string(k.Metadata), "content_hash": k.Hash.String(),
				})
			}
		case c.Ticket != nil:
			r := c.Ticket
			add("tickets", &r.Head, c, row{
				"source_contact_id": null(r.ContactID), "source_company_id": null(r.CompanyID), "source_conversation_id": null(r.ConversationID),
				"ticket_number": null(r.Number), "subject": null(r.Subject), "message": null(r.Message), "status": null(r.Status), "priority": null(r.Priority),
				"category": null(r.Category), "assignee": null(r.Assignee), "resolved_at": when(r.ResolvedAt), "metadata": string(r.Metadata), "messages": string(r.MessagesJSON),
			})
		}
	}
	for _, x := range rejects {
		out["rejects"] = append(out["rejects"], row{
			"stage": x.Stage, "kind": x.Kind, "source_id": null(x.ID), "field": null(x.Field), "reason": x.Reason, "payload": string(x.Payload),
		})
	}
	return out
}
