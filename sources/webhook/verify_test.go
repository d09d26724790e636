package webhook_test

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // as Intercom signs
	"encoding/hex"
	"strings"
	"testing"

	"haloingest/sources/webhook"
)

func TestASignatureMadeElsewhereIsAccepted(t *testing.T) {
	t.Parallel()
	// printf '{"type":"notification_event"}' | openssl dgst -sha1 -hmac client-secret
	const body, header = `{"type":"notification_event"}`, "sha1=ee7428da80e3d30bcbfcd10b30708df0b660715d"
	if err := webhook.Verify([]byte("client-secret"), []byte(body), header); err != nil {
		t.Error(err)
	}
	if got := webhook.Sign([]byte("client-secret"), []byte(body)); got != header {
		t.Errorf("signed %s, want %s", got, header)
	}
}

func TestWhatIsNotTheSignatureIsRefused(t *testing.T) {
	t.Parallel()
	secret, body := []byte("client-secret"), []byte(`{"topic": "ping"}`)
	good := webhook.Sign(secret, body)
	digits := strings.TrimPrefix(good, "sha1=")
	if err := webhook.Verify(secret, body, "sha1="+strings.ToUpper(digits)); err != nil {
		t.Errorf("upper case digits: %v", err)
	}
	for name, header := range map[string]string{
		"missing": "", "without a prefix": digits, "another algorithm": "sha256=" + digits, "prefix in upper case": "SHA1=" + digits, "blank": "sha1= " + digits,
		"cut": good[:len(good)-1], "longer": good + "0", "only the prefix": "sha1=", "no digits": "sha1=" + strings.Repeat("g", 40),
		"of another secret": webhook.Sign([]byte("client-secreT"), body),
		"JSON-equal body":   webhook.Sign(secret, []byte(`{"topic":"ping"}`)),
	} {
		if webhook.Verify(secret, body, header) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for i := range body {
		changed := append([]byte(nil), body...)
		changed[i] ^= 1
		if webhook.Verify(secret, changed, good) == nil {
			t.Errorf("accepted with byte %d changed", i)
		}
	}
	if webhook.Verify(nil, body, webhook.Sign(nil, body)) == nil {
		t.Error("no secret verifies")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte("secret"), []byte("{}"), "sha1=00")
	f.Add([]byte(""), []byte(""), "")
	f.Add([]byte("s"), []byte("b"), webhook.Sign([]byte("s"), []byte("b")))
	f.Fuzz(func(t *testing.T, secret, body []byte, header string) {
		mac := hmac.New(sha1.New, secret)
		mac.Write(body)
		want := len(secret) > 0 && len(header) == 45 && header[:5] == "sha1=" && strings.ToLower(header[5:]) == hex.EncodeToString(mac.Sum(nil))
		if got := webhook.Verify(secret, body, header) == nil; got != want {
			t.Errorf("Verify = %v, want %v", got, want)
		}
	})
}
