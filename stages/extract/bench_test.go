package extract

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"haloingest/pipeline/record"
)

// benchConversation is a conversation of an opening message and seven parts in the API's own width:
// about 12 KB of JSON, bodies of about 300 bytes, half of them with markup beyond a paragraph.
func benchConversation(i int) record.Object {
	var parts []string
	for j := range 7 {
		author := `{"type":"user","id":"6762f1261bb69f9f2193bba7","name":"Ada Beispiel","email":"ada@example.com"}`
		if j%2 == 0 {
			author = `{"type":"admin","id":"991267645","name":"Ciaran Lee","email":"ciaran@example.com","from_ai_agent":false,"is_ai_answer":false}`
		}
		body := strings.Repeat("The export stops after about two minutes and the file is empty. ", 4)
		body = `<p>` + strings.TrimSpace(body) + `</p>`
		if j%2 == 1 {
			body = `<p class=\"no-margin\">Hi Ada,</p>\n<p class=\"no-margin\">please try &quot;Settings &gt; Export&quot; and see <a href=\"https://help.example/articles/1-export\" rel=\"nofollow noopener noreferrer\" target=\"_blank\">this article</a>:</p>\n<ul><li>choose <b>CSV</b></li><li>press <i>Start</i></li></ul><p>` + body[3:]
		}
		parts = append(parts, fmt.Sprintf(`{"type":"conversation_part","id":"%d","part_type":"comment","body":"%s","created_at":%d,"updated_at":%d,"notified_at":%d,"assigned_to":null,"author":%s,"attachments":[],"external_id":null,"redacted":false,"email_message_metadata":null,"metadata":null,"state":"open","tags":[],"event_details":null,"app_package_code":null}`,
			5000+j, body, 1663597223+j*60, 1663597223+j*60, 1663597223+j*60, author))
	}
	body := fmt.Sprintf(`{"type":"conversation","id":"%d","created_at":1663597200,"updated_at":1663598000,"waiting_since":null,"snoozed_until":null,
"source":{"type":"conversation","id":"403918334","delivered_as":"customer_initiated","subject":"","body":"<p>My export is <b>empty</b>, what can I do?</p>","author":{"type":"user","id":"6762f1261bb69f9f2193bba7","name":"Ada Beispiel","email":"ada@example.com"},"attachments":[],"url":"https://app.example/exports","redacted":false},
"contacts":{"type":"contact.list","contacts":[{"type":"contact","id":"6762f1261bb69f9f2193bba7","external_id":"70"}]},"first_contact_reply":{"created_at":1663597200,"type":"conversation","url":null},"admin_assignee_id":991267715,"team_assignee_id":5017691,"open":false,"state":"closed","read":true,
"tags":{"type":"tag.list","tags":[{"type":"tag","id":"123456","name":"Export","applied_at":1663597223,"applied_by":{"type":"admin","id":"1"}}]},"priority":"none","sla_applied":null,
"statistics":{"type":"conversation_statistics","time_to_assignment":0,"time_to_admin_reply":60,"time_to_first_close":900,"time_to_last_close":900,"median_time_to_reply":60,"first_contact_reply_at":1663597200,"first_assignment_at":1663597200,"first_admin_reply_at":1663597260,"first_close_at":1663598000,"last_assignment_at":1663597200,"last_assignment_admin_reply_at":1663597200,"last_contact_reply_at":1663597600,"last_admin_reply_at":1663597600,"last_close_at":1663598000,"last_closed_by_id":"1","count_reopens":0,"count_assignments":1,"count_conversation_parts":7},
"conversation_rating":null,"teammates":null,"title":null,"custom_attributes":{"plan":"pro","seats":12,"beta":true},"topics":{},"ticket":null,"linked_objects":{"type":"list","data":[],"total_count":0,"has_more":false},"ai_agent":null,"ai_agent_participated":false,
"conversation_parts":{"type":"conversation_part.list","conversation_parts":[%s],"total_count":7}}`, 1000000+i, strings.Join(parts, ","))
	return record.Object{Kind: record.KindConversation, ID: fmt.Sprint(1000000 + i), Body: []byte(body), FetchedAt: time.Unix(1700000000, 0)}
}

func benchBatch(n int) (batch []record.Object, size int64) {
	for i := range n {
		o := benchConversation(i)
		size += int64(len(o.Body))
		batch = append(batch, o)
	}
	return batch, size
}

func BenchmarkExtractConversation(b *testing.B) {
	batch, size := benchBatch(100)
	s := New(Options{})
	b.ReportAllocs()
	b.SetBytes(size / 100)
	b.ResetTimer()
	before := cpu(b)
	for n := 0; n < b.N; n += len(batch) {
		result, err := s.Process(context.Background(), batch[:min(len(batch), b.N-n)])
		if err != nil || len(result.Rejects) > 0 {
			b.Fatal(err, result.Rejects)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpu is the time that the process has spent computing, which other work on the machine does not stretch.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkTextOfEightMessages(b *testing.B) {
	batch, _ := benchBatch(1)
	result, err := New(Options{}).Process(context.Background(), batch)
	if err != nil || len(result.Items) != 1 {
		b.Fatal(err, result.Rejects)
	}
	messages := result.Items[0].Conversation.Messages
	var h htmlReader
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	for range b.N {
		for i := range messages {
			if h.text(messages[i].HTML) == "" {
				b.Fatal("no text")
			}
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}
