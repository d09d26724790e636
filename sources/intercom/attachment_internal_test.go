package intercom

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func TestWhichAddressesAreAsked(t *testing.T) {
	for address, want := range map[string]bool{
		"https://downloads.intercomcdn.com/i/o/1/a.png?expires=1":       true,
		"https://downloads.intercomcdn.eu/i/o/1/a.png":                  true,
		"https://downloads.au.intercomcdn.com/i/o/1/a.png":              true,
		"https://DOWNLOADS.Intercomcdn.com/i":                           true,
		"https://downloads.intercomcdn.com:443/i":                       true,
		"https://uploads.intercomusercontent.com/i":                     true,
		"https://acme-1a2b.intercom-attachments-7.com/i/o/1":            true,
		"https://intercom-attachments-1.com/x":                          true,
		"https://acme.au.intercom-attachments.com/i":                    true,
		"https://acme.intercom-attachments.eu/i":                        true,
		"https://static.intercomassets.com/avatars/1":                   true,
		"http://downloads.intercomcdn.com/i":                            false,
		"https://downloads.intercomcdn.com:8443/i":                      false,
		"https://downloads.intercomcdn.com./i":                          false,
		"https://user@downloads.intercomcdn.com/i":                      false,
		"https://downloads.intercomcdn.com.evil.example/i":              false,
		"https://evil.example/downloads.intercomcdn.com/i":              false,
		"https://evilintercomcdn.com/i":                                 false,
		"https://acme.intercom-attachments-0.com/i":                     false,
		"https://acme.intercom-attachments-10.com/i":                    false,
		"https://acme.intercom-attachments-11.com/i":                    false,
		"https://acme.intercom-attachments-1.com.evil.example/i":        false,
		"https://acme.intercom-mail.com/via/e?ob=1":                     false,
		"https://api.intercom.io/me":                                    false,
		"https://s3.amazonaws.com/intercom/x":                           false,
		"https://1.2.3.4/i":                                             false,
		"https://[2606:4700::1]/i":                                      false,
		"https://2130706433/i":                                          false,
		"https://localhost/i":                                           false,
		"http://127.0.0.1:8080/i":                                       false,
		"https://downloads.intercomcdn.com%2eevil.example/i":            false,
		"https://downloads.intercomcdn.com\\@evil.example/i":            false,
		"https:downloads.intercomcdn.com/i":                             false,
		"ftp://downloads.intercomcdn.com/i":                             false,
		"https:///i":                                                    false,
		"https://downloads.intercomcdn.com@evil.example/i":              false,
		"https://downloads.intercomcdn.com#@evil.example/i":             true, // a fragment
		"https://evil.example#@downloads.intercomcdn.com/i":             false,
		"https://evil.example?@downloads.intercomcdn.com/i":             false,
		"https://xn--dwnloads-o3a.xn--intercmcdn-3qf.com/i":             false,
		"https://downloads.intercomcdn.com.intercomcdn.co/i":            false,
		"https://intercomcdn.com.au/i":                                  false,
		"https://.intercomcdn.com.evil.example:443/downloads/intercom/": false,
	} {
		u, err := url.Parse(address)
		got := err == nil && (fileAddress{}).check(u) == nil
		if got != want {
			t.Errorf("%s is asked: %v, want %v", address, got, want)
		}
	}
}

// The simulator is asked by exactly its address, and only where the API itself is on loopback.
func TestOnlyTheSimulatorIsAskedOnLoopback(t *testing.T) {
	for base, asked := range map[string]string{
		"http://127.0.0.1:8080":     "http://127.0.0.1:8080/i/o/1",
		"http://[::1]:8080":         "http://[::1]:8080/i/o/1",
		"https://localhost:8443":    "https://localhost:8443/i/o/1",
		"https://api.intercom.io":   "",
		"https://proxy.example:443": "",
	} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		f := newFileAddress(u)
		for _, address := range []string{
			"http://127.0.0.1:8080/i/o/1", "http://[::1]:8080/i/o/1", "https://localhost:8443/i/o/1", "http://127.0.0.1:8081/i/o/1",
			"https://127.0.0.1:8080/i/o/1", "http://localhost:8080/i/o/1", "http://localhost:8443/i", "http://127.0.0.2:8080/i/o/1", "https://proxy.example:443/i", "https://api.intercom.io/i",
		} {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.check(u) == nil; got != (address == asked) {
				t.Errorf("API at %s: %s is asked: %v", base, address, got)
			}
		}
	}
}

func TestWhichAddressesAreOnTheInternet(t *testing.T) {
	for address, want := range map[string]bool{
		"3.160.10.1": true, "2606:4700::6810:1": true, "64:ff9b::3a0:a01": true,
		"127.0.0.1": false, "127.9.9.9": false, "10.0.0.1": false, "172.16.3.4": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false, "192.0.2.1": false,
		"198.18.0.1": false, "198.51.100.7": false, "203.0.113.7": false, "192.0.0.8": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:3.160.10.1": true, "fe80::1": false, "fe80::1%eth0": false,
		"fc00::1": false, "fd12::1": false, "ff02::1": false, "fec0::1": false, "2001:db8::1": false, "2002:7f00:1::": false, "2001::1": false, "100::1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a00:1": false, "64:ff9b::a9fe:a9fe": false, "::7f00:1": false,
	} {
		if got := isPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is public: %v, want %v", address, got, want)
		}
	}
}

// A name of Intercom's that leads to this machine is not followed: here localhost stands for such a name.
func TestANameThatLeadsInsideIsNotDialled(t *testing.T) {
	var came atomic.Int64
	inside := httptest.NewUnstartedServer(http.NotFoundHandler())
	inside.Config.ConnState = func(net.Conn, http.ConnState) { came.Add(1) }
	inside.Start()
	defer inside.Close()
	_, port, err := net.SplitHostPort(inside.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []fileAddress{{}, {loopback: "127.0.0.1:1", scheme: "http"}} {
		transport := newFileTransport(f, 1, time.Second)
		_, err := transport.DialContext(context.Background(), "tcp", "localhost:"+port)
		if !errors.Is(err, errPrivate) {
			t.Errorf("with %+v: %v, want %v", f, err, errPrivate)
		}
		failure, ok := networkFailure(&url.Error{Op: "Get", URL: "https://secret", Err: err}).(*fileError)
		if !ok || failure.reason != record.AttachmentForeign || failure.again || strings.Contains(failure.text, "secret") {
			t.Errorf("the failure is %+v", failure)
		}
	}
	if came.Load() != 0 {
		t.Errorf("somebody came")
	}
	conn, err := newFileTransport(fileAddress{loopback: "127.0.0.1:" + port, scheme: "http"}, 1, time.Second).DialContext(context.Background(), "tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatalf("the simulator itself: %v", err)
	}
	conn.Close()
}

// A proxy of the environment may be within the network; what it is asked for may not.
func TestAProxyMayBeInside(t *testing.T) {
	if got := hostPort(&url.URL{Scheme: "http", Host: "proxy.internal"}); got != "proxy.internal:80" {
		t.Error(got)
	}
	if got := hostPort(&url.URL{Scheme: "https", Host: "[fd00::1]"}); got != "[fd00::1]:443" {
		t.Error(got)
	}
	if got := hostPort(&url.URL{Scheme: "socks5", Host: "p:9999"}); got != "p:9999" {
		t.Error(got)
	}
}

func TestAFilesAddressIsFoundAndPaired(t *testing.T) {
	body := `{"id":"7","source":{"id":70,"body":"<p>see <img src=\"https://downloads.intercomcdn.com/i/o/in.png?expires=1&amp;signature=ab\"><img src='//downloads.intercomcdn.com/i/o/in.png?expires=2'></p>",
			"attachments":[{"type":"upload","name":"a","url":"https://downloads.intercomcdn.com/i/o/a.png?x=1#f","content_type":"image/png","filesize":"12"},null,"x",{"name":"no address"}]},
		"conversation_parts":{"conversation_parts":[
			{"id":"71","body":"<a href=\"https://downloads.intercomcdn.com/b.pdf?s=1\">b</a><img src=\"https://elsewhere.example/x.png\">",
				"attachments":[{"url":"https://downloads.intercomcdn.com/b.pdf?s=2","filesize":3.0}]},
			{"id":"72","redacted":true,"body":"<img src=\"https://downloads.intercomcdn.com/r.png\">","attachments":[{"url":"https://downloads.intercomcdn.com/r2.png"}]},
			{"id":"73","attachments":[{"url":"https://downloads.intercomcdn.com/old.png"}]},
			{"id":"73","attachments":{"attachments":[{"url":"https://downloads.intercomcdn.com/new.png"}]}},
			{"body":null,"attachments":[{"url":"https://downloads.intercomcdn.com/n0.png"}]},
			{"attachments":[{"url":"https://downloads.intercomcdn.com/n1.png"}]},
			null]},
		"custom_attributes":{"Papers":[{"type":"upload","name":"p","url":"https://downloads.intercomcdn.com/p?s=1"},{"no":"file"},7],"Plain":"text","One":{"type":"upload","url":"https://downloads.intercomcdn.com/one?s"}}}`
	links, whole := (fileAddress{}).find(record.KindConversation, "7", []byte(body))
	var got []string
	for _, l := range links {
		got = append(got, fmt.Sprintf("%s/%d %s (%s %s %d) <- %s", l.MessageID, l.N, l.URL, l.Name, l.ContentType, l.Size, l.signed))
	}
	const host = "https://downloads.intercomcdn.com"
	want := []string{
		"70/0 " + host + "/i/o/a.png (a image/png 12) <- " + host + "/i/o/a.png?x=1#f",
		"70/1  (no address  0) <- ",
		"70/1000 " + host + "/i/o/in.png (in.png  0) <- " + host + "/i/o/in.png?expires=1&signature=ab",
		"71/0 " + host + "/b.pdf (  3) <- " + host + "/b.pdf?s=2",
		"73/0 " + host + "/new.png (  0) <- " + host + "/new.png",
		"/0 " + host + "/n0.png (  0) <- " + host + "/n0.png",
		"/1 " + host + "/n1.png (  0) <- " + host + "/n1.png",
		"custom_attributes.Papers/0 " + host + "/p (p  0) <- " + host + "/p?s=1",
		"custom_attributes.One/0 " + host + "/one (  0) <- " + host + "/one?s",
	}
	sortParts := cmp.Transformer("sorted", func(list []string) map[string]bool {
		set := map[string]bool{}
		for _, s := range list {
			set[s] = true
		}
		return set
	})
	if diff := cmp.Diff(want, got, sortParts); diff != "" || !whole {
		t.Errorf("whole %v, files (-want +got):\n%s", whole, diff)
	}
	long := `{"conversation_parts":{"conversation_parts":[` + strings.Repeat(`{"id":"1"},`, 499) + `{"id":"2"}]}}`
	if _, whole := (fileAddress{}).find(record.KindConversation, "7", []byte(long)); whole {
		t.Error("500 parts may not be all")
	}
}

// Whatever an object holds, a place is there once, and what is kept of an address is no signature.
func FuzzFilesOfAnObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"source":{"attachments":[{"url":"https://downloads.intercomcdn.com/a?b#c"}],"body":"<img src=\"https://downloads.intercomcdn.com/x?y\">"}}`,
		`{"ticket_parts":{"ticket_parts":[{"id":"1","attachments":[{"url":"u"}]},{"id":"1","attachments":[{"url":"v"}]}]}}`,
		`{"ticket_attributes":{"a\u0000b":[{"type":"upload","url":"x"}],"a":[{"type":"upload","url":"y"}]}}`, `{"source":{"id":"s"},"conversation_parts":[{"id":"s","attachments":[{"url":"1"}]}]}`, `[`, `{"source":`, "\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range []record.Kind{record.KindConversation, record.KindTicket} {
			links, _ := (fileAddress{}).find(kind, "1", body)
			seen := map[string]bool{}
			for _, l := range links {
				place := fmt.Sprintf("%q/%d", l.MessageID, l.N)
				if seen[place] {
					t.Errorf("%s is there twice", place)
				}
				seen[place] = true
				if strings.ContainsAny(l.URL, "?#\x00") || strings.ContainsRune(l.MessageID+l.Name+l.ContentType, 0) || l.Size < 0 {
					t.Errorf("%+v", l)
				}
			}
		}
	})
}
