package conformance

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vector is one line of cat.jsonl: the bytes of a conformance document with a decode by another program.
type vector struct {
	ID, Kind, Command string
	Hex               string
	Decoded           decoded
}

// decoded are the fields of a vector's decode that are compared.
type decoded struct {
	TLVs []struct {
		Tag string
		CR  bool
		Len int
	}
	Number         *byte  `json:"command_number"`
	Type           string `json:"command_type"`
	Qualifier      string
	Source         string
	Destination    string
	Result         string
	AdditionalInfo string  `json:"additional_info"`
	AlphaID        *string `json:"alpha_id"`
	Texts          []string
	Bearer         *struct {
		Type       byte
		Parameters string
	} `json:"bearer_description"`
	BufferSize *uint16                    `json:"buffer_size"`
	NAN        *struct{ Labels []string } `json:"network_access_name"`
	Transport  *struct {
		Type byte
		Port uint16
	}
	DestinationAddress *struct{ Type, Address string } `json:"destination_address"`
	ChannelStatus      []struct{ Raw string }          `json:"channel_status"`
	ChannelData        *string                         `json:"channel_data"`
	ChannelDataLength  *byte                           `json:"channel_data_length"`
	Duration           *struct {
		Unit     string
		Interval byte
	}
	Events      []string
	Language    string
	TimerID     byte   `json:"timer_id"`
	TimerValue  string `json:"timer_value"`
	EnvelopeTag string `json:"envelope_tag"`
}

// vectorFile reads a file of the vectors that lie beside the repository, or skips.
func vectorFile(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "..", "shared", "vectors", name))
	if errors.Is(err, os.ErrNotExist) {
		results.add(row{"vectors", name, "skip", "the vectors are not beside this repository"})
		t.Skipf("the vectors are not beside this repository: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// loadVectors reads cat.jsonl.
func loadVectors(t *testing.T) []vector {
	t.Helper()
	var vs []vector
	lines := bufio.NewScanner(strings.NewReader(string(vectorFile(t, "cat.jsonl"))))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("line %d: %v", len(vs)+1, err)
		}
		v.ID = strings.TrimPrefix(v.ID, "ofono/")
		vs = append(vs, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return vs
}

// unhex reads hexadecimal digits; the vectors hold nothing else where it is used.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(fmt.Sprintf("hex %q: %v", s, err))
	}
	return b
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// object is a data object as this package's own walker finds it, apart from package cat.
type object struct {
	tag   byte // without b8; three-byte tags do not occur here
	cr    bool
	value []byte
}

func (o object) String() string { return fmt.Sprintf("%02X:%X", o.tag, o.value) }

// walk splits a list of COMPREHENSION-TLVs.
func walk(b []byte) ([]object, error) {
	var list []object
	for len(b) > 0 {
		tag := b[0]
		value, rest, err := splitLength(b[1:])
		if err != nil || tag&0x7F == 0x7F || tag&0x7F == 0 {
			return list, fmt.Errorf("object %02X at the end of %d octets: %w", tag, len(b), errors.Join(err))
		}
		list = append(list, object{tag & 0x7F, tag&0x80 != 0, value})
		b = rest
	}
	return list, nil
}

// splitLength reads a length and as many octets (ETSI TS 101 220 clause 7.1.2).
func splitLength(b []byte) (value, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, errors.New("no length")
	}
	n, at := int(b[0]), 1
	if n == 0x81 && len(b) > 1 {
		n, at = int(b[1]), 2
	} else if n > 0x7F {
		return nil, nil, fmt.Errorf("length octet %02X", b[0])
	}
	if n > len(b)-at {
		return nil, nil, fmt.Errorf("%d octets announced, %d there", n, len(b)-at)
	}
	return b[at : at+n], b[at+n:], nil
}

// unwrap takes a template apart: D0 to DF, length, content.
func unwrap(b []byte) (tag byte, content []byte, err error) {
	if len(b) == 0 || b[0]>>4 != 0xD {
		return 0, nil, errors.New("no template")
	}
	content, rest, err := splitLength(b[1:])
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d octets behind the template", len(rest))
	}
	return b[0], content, err
}

// plain is a message with b8 of every tag clear: which objects ask for comprehension differs between cards, terminals
// and documents.
func plain(b []byte) string {
	content, head := b, ""
	if len(b) > 0 && b[0]>>4 == 0xD {
		tag, inner, err := unwrap(b)
		if err != nil {
			return err.Error()
		}
		content, head = inner, fmt.Sprintf("%02X ", tag)
	}
	list, err := walk(content)
	if err != nil {
		return err.Error()
	}
	return head + fmt.Sprint(list)
}
