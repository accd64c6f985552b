import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/** CA-FILE client|server CHAIN-FILE: whether Java's own trust manager takes the chain. */
class Verify {
    public static void main(String[] args) throws Exception {
        var certificates = CertificateFactory.getInstance("X.509");
        var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        for (var ca : certificates.generateCertificates(new FileInputStream(args[0]))) {
            trusted.setCertificateEntry("ca" + trusted.size(), ca);
        }
        var chain = certificates.generateCertificates(new FileInputStream(args[2])).toArray(new X509Certificate[0]);
        var factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(trusted);
        for (TrustManager manager : factory.getTrustManagers()) {
            var judge = (X509TrustManager) manager;
            if (args[1].equals("server")) {
                judge.checkServerTrusted(chain, "ECDHE_ECDSA");
            } else {
                judge.checkClientTrusted(chain, "EC");
            }
        }
        System.out.println("Java " + System.getProperty("java.version"));
    }
}
