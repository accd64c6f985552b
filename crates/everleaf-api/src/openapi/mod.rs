//! OpenAPI documents of what is served: version 2 whole, version 3 by group and version.
//!
//! Made of the schema tables and of the list of resources that discovery is made of, so that a
//! client is told what the server does. kubectl reads from them what a file may hold, what
//! `explain` shows and which parameters an operation takes (`k8s.io/kubectl/pkg/validation`,
//! `k8s.io/kubectl/pkg/explain`). Their protobuf forms are in [`gnostic`].

mod definitions;
pub mod gnostic;
mod operations;
mod paths;

use crate::discovery::Resource;
use crate::schema::Type;
use definitions::Definitions;
use paths::Path;
use serde_json::{Map, Value, json};

/// Which version of OpenAPI a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 2.0, also known as Swagger.
    V2,
    /// 3.0
    V3,
}

/// What is served.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// As discovery has them.
    pub resources: &'a [Resource],
    /// The type of a group, version and kind.
    pub r#type: fn(&str, &str, &str) -> Option<&'static Type>,
    /// Version of the documents, such as `1.37`.
    pub version: &'a str,
}

/// The name of one document of version 3, as in `/openapi/v3/apis/certificates.k8s.io/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `version`
    Version,
    /// `api`: the versions of the core group.
    Core,
    /// `apis`: the groups.
    Groups,
    /// `apis/GROUP`: the versions of a group.
    Group(&'static str),
    /// `api/v1`, `apis/GROUP/VERSION`: the resources.
    Resources(&'static str, &'static str),
}

impl Part {
    /// The name in paths.
    pub fn name(&self) -> String {
        match self {
            Self::Version => "version".to_owned(),
            Self::Core => "api".to_owned(),
            Self::Groups => "apis".to_owned(),
            Self::Group(group) => format!("apis/{group}"),
            Self::Resources("", version) => format!("api/{version}"),
            Self::Resources(group, version) => format!("apis/{group}/{version}"),
        }
    }
}

impl Served<'_> {
    /// The parts that documents of version 3 are made for.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Version, Part::Core, Part::Groups];
        for resource in self.resources {
            if !resource.group.is_empty() && !parts.contains(&Part::Group(resource.group)) {
                parts.push(Part::Group(resource.group));
            }
            let part = Part::Resources(resource.group, resource.version);
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts
    }

    /// `/openapi/v2`: everything.
    pub fn v2(&self) -> Value {
        let parts = self.parts();
        let mut definitions = Definitions::new(Form::V2, versions(&parts));
        let paths = self.render(Form::V2, &parts, &mut definitions);
        json!({
            "swagger": "2.0",
            "info": self.info(),
            "paths": paths,
            "definitions": definitions.into_map(),
            "securityDefinitions": security(),
            "security": [{"BearerToken": []}],
        })
    }

    /// One document of version 3.
    pub fn v3(&self, part: &Part) -> Value {
        let parts = std::slice::from_ref(part);
        let mut definitions = Definitions::new(Form::V3, versions(parts));
        let paths = self.render(Form::V3, parts, &mut definitions);
        json!({
            "openapi": "3.0.0",
            "info": self.info(),
            "paths": paths,
            "components": {
                "schemas": definitions.into_map(),
                "securitySchemes": security(),
            },
        })
    }

    fn info(&self) -> Value {
        json!({"title": "Kubernetes", "version": self.version})
    }

    fn render(
        &self,
        form: Form,
        parts: &[Part],
        definitions: &mut Definitions,
    ) -> Map<String, Value> {
        let mut rendered = Map::new();
        for path in parts.iter().flat_map(|part| paths::of_part(self, part)) {
            let Path {
                path,
                parameters,
                operations,
            } = path;
            let mut item = Map::new();
            for operation in operations {
                let method = operation.method.to_owned();
                item.insert(method, operation.render(form, definitions));
            }
            if !parameters.is_empty() {
                let parameters = parameters.iter().map(|parameter| parameter.render(form));
                item.insert("parameters".to_owned(), parameters.collect());
            }
            rendered.insert(path, Value::Object(item));
        }
        rendered
    }
}

fn versions(parts: &[Part]) -> Vec<(&'static str, &'static str)> {
    let resources = parts.iter().filter_map(|part| match part {
        Part::Resources(group, version) => Some((*group, *version)),
        _ => None,
    });
    resources.collect()
}

fn security() -> Value {
    json!({"BearerToken": {
        "type": "apiKey",
        "description": "Bearer Token authentication",
        "name": "authorization",
        "in": "header",
    }})
}
