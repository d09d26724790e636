package postgres

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func TestKnowledgeOfConversationsThatAreNotThereGoesAndIsKeptForAnUndo(t *testing.T) {
	x := newLoading(t)
	x.commit(repairable(1)...)
	add := func(id byte, key, transcript, source string) record.UUID {
		row := record.UUID{15: id}
		x.exec(`INSERT INTO knowledge (org_id, id, key, kind, content, transcript_id, source_id) VALUES ($1, $2, $3, 'fact', 'invented', `+transcript+`, $4)`,
			orgA, row, key, source)
		return row
	}
	var listed []record.UUID
	for i, transcript := range []string{"NULL", "gen_random_uuid()", "(SELECT id FROM transcripts WHERE source_id = 'v1')"} {
		listed = append(listed, add(byte(i+1), fmt.Sprint("somebody's ", i), transcript, "9999n"))
	}
	add(10, "intercom:conversation:9999n", "'"+record.RowID(orgA, record.KindConversation, "9999n").String()+"'", "9999n")
	// On a conversation that is there, with a key that the loader does not take for its own.
	listed = append(listed, add(11, "somebody's", "NULL", "v1"))
	// What nobody has confirmed to be gone, and what nobody has found, stays.
	listed = append(listed, add(20, "unconfirmed", "NULL", "8888n"))
	add(21, "somebody's own", "NULL", "9999n")
	const query = `SELECT id, key, content, transcript_id, source_id FROM knowledge ORDER BY id`
	before := x.table(query)

	mender := startRun(t, x.lease, RunSpec{Kind: "mend"})
	sources := []string{"9999n", "v1", "8888n"}
	if n, err := mender.DropStrayKnowledge(t.Context(), sources, listed); err != nil || n != 0 {
		t.Fatalf("before anything was read: %d rows, %v; want none", n, err)
	}
	x.run, x.sink = mender, mender.Sink("all", SinkOptions{Rewrite: true})
	defer x.sink.Close(t.Context())
	x.seq = 0
	x.commit(append(repairable(1), goneChange(record.KindConversation, "9999n", 5))...)
	if n, err := mender.DropStrayKnowledge(t.Context(), sources, listed); err != nil || n != 4 {
		t.Errorf("%d rows went, %v; want 4: the one that hung on v1 went when that was loaded", n, err)
	}
	if diff := cmp.Diff([]string{"(unconfirmed)", `("somebody's own")`}, x.table(`SELECT key FROM knowledge WHERE content = 'invented' ORDER BY id`)); diff != "" {
		t.Errorf("what stays (-want +got):\n%s", diff)
	}
	if len(x.table(query)) != len(before)-5 {
		t.Error("knowledge that the conversations have went, too")
	}
	if n := x.table(`SELECT count(*) FROM ingest.before_images WHERE table_name = 'knowledge' AND run_id = $1 AND image->>'content' = 'invented'`, mender.ID); n[0] != "(5)" {
		t.Errorf("%s rows are kept for an undo, want 5", n)
	}
}
