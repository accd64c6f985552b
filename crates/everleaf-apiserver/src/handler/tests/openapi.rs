//! How OpenAPI documents are asked for; what is in them is held against kube-apiserver's by the
//! recordings.

use super::fixture::{Answer, World};
use flate2::read::GzDecoder;
use std::io::Read as _;

const GNOSTIC: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const CERTIFICATES: &str = "/openapi/v3/apis/certificates.k8s.io/v1";

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

#[test]
fn the_whole_document_comes_in_the_form_that_is_wanted() {
    let world = World::new();
    let json = world.get("/openapi/v2").expect(200);
    assert_eq!(json.json["swagger"], "2.0");
    assert_eq!(header(&json, "content-type"), "application/json");
    let tag = header(&json, "etag").to_owned();
    let protobuf = world.raw("GET", "/openapi/v2", &[("Accept", GNOSTIC)], "");
    assert_eq!(
        protobuf.headers()["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert_eq!(protobuf.headers()["etag"], tag.as_str());
    // Field 1, `swagger`, is somewhere, and so is the name of a definition.
    let body = protobuf.into_body();
    let bytes = body.as_bytes().unwrap();
    for text in [
        "\x0a\x032.0",
        "io.k8s.api.certificates.v1.CertificateSigningRequest",
    ] {
        assert!(
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes()),
            "{text}"
        );
    }
    let known = world.send("GET", "/openapi/v2", &[("If-None-Match", &tag)], "");
    assert_eq!(
        (known.expect(304).text.as_str(), header(&json, "etag")),
        ("", tag.as_str())
    );
    world
        .send("GET", "/openapi/v2", &[("Accept", "text/html")], "")
        .expect(406);
    let listed = world.get("/").json["paths"].to_string();
    assert!(
        listed.contains("\"/openapi/v2\",\"/openapi/v3\""),
        "{listed}"
    );
}

#[test]
fn who_takes_gzip_gets_it() {
    let world = World::new();
    for accept in ["application/json", GNOSTIC] {
        let plain = world
            .raw("GET", "/openapi/v2", &[("Accept", accept)], "")
            .into_body();
        let headers = [("Accept", accept), ("Accept-Encoding", "br, gzip")];
        let small = world.raw("GET", "/openapi/v2", &headers, "");
        assert_eq!(small.headers()["content-encoding"], "gzip");
        let small = small.into_body();
        let mut read = Vec::new();
        GzDecoder::new(&small.as_bytes().unwrap()[..])
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, plain.as_bytes().unwrap()[..]);
    }
}

#[test]
fn parts_are_named_by_what_is_in_them() {
    let world = World::new();
    let index = world.get("/openapi/v3").expect(200);
    let index: serde_json::Value = serde_json::from_str(&index.text).unwrap();
    let address = index["paths"]["apis/certificates.k8s.io/v1"]["serverRelativeURL"].as_str();
    let address = address.unwrap();
    let kept = world.get(address).expect(200);
    assert_eq!(header(&kept, "cache-control"), "public, immutable");
    assert_eq!(header(&kept, "expires"), "Sat, 02 Jan 2027 03:04:05 GMT");
    assert!(kept.json["paths"]["/apis/certificates.k8s.io/v1/"].is_object());
    let today = world.get(CERTIFICATES).expect(200);
    assert_eq!(header(&today, "cache-control"), "no-cache, private");
    assert_eq!(today.text, kept.text);
    let stale = world.get(&format!("{CERTIFICATES}?hash=ABCD")).expect(301);
    assert_eq!(header(&stale, "location"), address);
    world.get("/openapi/v3/apis/example.com/v1").expect(404);
    world.get("/openapi/v4").expect(404);
    world.get("/openapi").expect(404);
}

#[test]
fn a_part_comes_as_protobuf_too() {
    let world = World::new();
    let json = world.get(CERTIFICATES).expect(200);
    for asked in [
        "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    ] {
        let protobuf = world.raw("GET", CERTIFICATES, &[("Accept", asked)], "");
        let headers = protobuf.headers();
        assert_eq!(
            headers["content-type"],
            "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
        );
        assert_eq!(
            headers["etag"],
            header(&json, "etag"),
            "one document, two forms"
        );
        assert_eq!(headers["vary"], "Accept");
        let body = protobuf.into_body();
        let bytes = body.as_bytes().unwrap();
        assert!(
            bytes.starts_with(b"\x0a\x053.0.0\x12"),
            "openapi, then info"
        );
        let name = b"io.k8s.api.certificates.v1.CertificateSigningRequest";
        assert!(bytes.windows(name.len()).any(|window| window == name));
    }
    let either = "text/html, application/json;q=0.5, application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
    let chosen = world.raw("GET", CERTIFICATES, &[("Accept", either)], "");
    assert!(
        chosen.headers()["content-type"]
            .to_str()
            .unwrap()
            .ends_with("+protobuf")
    );
    let of_v2 = [("Accept", GNOSTIC)];
    world.send("GET", CERTIFICATES, &of_v2, "").expect(406);
}

/// Every member of every document has its place in the tables of its protobuf form.
#[test]
fn every_part_has_a_protobuf_form() {
    let world = World::new();
    let index = world.get("/openapi/v3").json;
    let asked = [(
        "Accept",
        "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    )];
    for part in index["paths"].as_object().unwrap().keys() {
        let answer = world.raw("GET", &format!("/openapi/v3/{part}"), &asked, "");
        assert_eq!(answer.status(), 200, "{part}");
    }
}
